// Plays the sales of a till in a sandbox, one after the other. Each prints a line, or says what was expected.
'use strict';

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const { randomUUID } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { parseArgs } = require('node:util');
const grpc = require('@grpc/grpc-js');
const { MayNotPay, Refusal, SHOWN, Till, load, unary } = require('./till');

const root = path.join(__dirname, '../..');
const { values: flags } = parseArgs({
  options: {
    terminal: { type: 'string', default: '127.0.0.1:7003' },
    sandbox: { type: 'string', default: '127.0.0.1:7004' },
    certificates: { type: 'string', default: path.join(root, '.tillmesh/sandbox/tls/device-store-1+cli') },
    protos: { type: 'string', default: path.join(root, 'protos') },
    mesh: { type: 'string', default: 'sandbox' },
    'crash-after-journal': { type: 'string' },
  },
});

const GTIN = '5012345678900';
const PIN = '2580';
const BEFORE_THE_END_S = 3;
const ALL_FLOWS_MS = 300_000;

const { SandboxService } = load(flags.protos, 'sandbox', ['sandbox_service']).v1;
const sandbox = new SandboxService(flags.sandbox, grpc.credentials.createInsecure());

async function payCode(payer) {
  return (await unary(sandbox, 'ShowPayCode', { identity_id: payer })).pay_code;
}

function moveClock(seconds) {
  return unary(sandbox, 'MoveClock', { by: { seconds } });
}

function mugs(quantity) {
  return { sku: 'MUG', title: 'Mug', quantity, unit_price_minor: 650 };
}

function pence(minor) {
  return { currency_code: 'GBP', minor_units: minor };
}

function expect(checkout, verdict, reason = '') {
  assert.equal(`${checkout.verdict} ${checkout.verdict_reason}`, `VERDICT_${verdict} ${reason}`);
  return checkout;
}

// Follows a checkout up to this verdict; the till may show only these on the way.
async function followUntil(till, checkoutId, verdict, reason, onTheWay = ['WAIT', 'ASK_PAYER']) {
  for await (const checkout of till.follow(checkoutId)) {
    if (checkout.verdict === `VERDICT_${verdict}`) return expect(checkout, verdict, reason);
    assert.ok(
      onTheWay.some((other) => checkout.verdict === `VERDICT_${other}`),
      `${verdict} was expected, the till shows: ${SHOWN[checkout.verdict]} ${checkout.verdict_reason}`,
    );
  }
  return assert.fail(`${verdict} was expected`);
}

// A pending order, under an identity or for whoever shows a pay code.
async function order(till, lines, payer = '') {
  const basket = await till.call('CreateCheckout', { request_id: randomUUID(), identity_id: payer, lines });
  return submit(till, basket);
}

function submit(till, { checkout_id, basket_version }) {
  return till.call('SubmitCheckout', { request_id: randomUUID(), checkout_id, basket_version });
}

async function refusal(calling, reason) {
  const error = await calling.then(
    () => assert.fail(`a refusal was expected: ${reason}`),
    (refused) => refused,
  );
  assert.ok(error instanceof Refusal, error);
  assert.equal(error.reason, reason);
  return error;
}

async function paidOnce(till, { checkout_id }) {
  const { events } = await till.ask('ListCheckoutEvents', { checkout_id, page_size: 200 });
  const count = (type) => events.filter((event) => event.type === type).length;
  assert.equal(count('TYPE_PAYMENT_STARTED'), 1);
  assert.equal(count('TYPE_PAID'), 1);
}

async function catalogueAndScan(till) {
  const article = { sku: 'MUG', gtins: [GTIN], title: 'Mug', unit_price: pence(650) };
  await till.call('ImportCatalogueItems', { request_id: randomUUID(), items: [article] });
  const basket = await till.call('CreateCheckout', { request_id: randomUUID() });
  const scan = await till.ask('ScanItem', {
    request_id: randomUUID(),
    checkout_id: basket.checkout_id,
    basket_version: basket.basket_version,
    scanned: GTIN,
  });
  assert.equal(scan.outcome, 'OUTCOME_ADDED');
  const pending = await submit(till, scan.checkout);
  assert.deepEqual(pending.amount, { currency_code: 'GBP', minor_units: '650' });
  await till.pay(pending, await payCode('sandbox-paid'));
  await followUntil(till, pending.checkout_id, 'HAND_OVER_GOODS');
  return 'an article was imported, scanned and paid by pay code';
}

async function sell(till) {
  const sale = await till.call('Sell', {
    checkout_id: randomUUID(),
    payment_id: randomUUID(),
    lines: [mugs(2), { sku: 'TEA', title: 'Tea', quantity: 1, unit_price_minor: 320 }],
    amount: pence(1620),
    pay_code: await payCode('sandbox-paid'),
  });
  till.sold = await followUntil(till, sale.checkout_id, 'HAND_OVER_GOODS');
  return 'a whole sale in one call';
}

async function askPayer(till) {
  const phone = await order(till, [mugs(1)], 'sandbox-says-yes');
  await till.pay(phone);
  await followUntil(till, phone.checkout_id, 'ASK_PAYER');
  await followUntil(till, phone.checkout_id, 'HAND_OVER_GOODS');

  const { checkout_id, amount } = await till.pay(await order(till, [mugs(1)], 'sandbox-pin'));
  await followUntil(till, checkout_id, 'ASK_PAYER');
  const enter = (pin) => till.ask('EnterPin', { request_id: randomUUID(), checkout_id, amount, pin });
  const { metadata } = await refusal(enter('0852'), 'PIN_WRONG');
  await enter(PIN);
  await followUntil(till, checkout_id, 'HAND_OVER_GOODS');
  return `confirmed on the phone, and by PIN after a wrong one (${metadata.tries_left} tries were left)`;
}

async function declineAndAnotherShopper(till) {
  const { checkout_id } = await till.pay(await order(till, [mugs(1)]), await payCode('sandbox-poor'));
  const declined = await followUntil(till, checkout_id, 'SAFE_TO_RETRY', 'INSUFFICIENT_FUNDS');
  await till.pay(declined, await payCode('sandbox-paid'));
  await followUntil(till, checkout_id, 'HAND_OVER_GOODS');
  return 'a shopper without money, then another one paid the same checkout';
}

async function cancelAndChange(till) {
  const { checkout_id } = await till.pay(await order(till, [mugs(1)]), await payCode('sandbox-silent'));
  await followUntil(till, checkout_id, 'ASK_PAYER');
  await till.call('CancelCheckoutPayment', { request_id: randomUUID(), checkout_id });
  const { basket_version, lines } = await followUntil(till, checkout_id, 'SAFE_TO_RETRY', 'PAYMENT_CANCELED');
  const changed = await till.call('UpdateLine', {
    request_id: randomUUID(),
    checkout_id,
    basket_version,
    line_number: lines[0].line_number,
    quantity: 3,
  });
  assert.equal(changed.amount.minor_units, '1950');
  await till.pay(changed, await payCode('sandbox-paid'));
  await followUntil(till, checkout_id, 'HAND_OVER_GOODS');
  return 'the payment was canceled, the order changed in place, and paid';
}

async function lostAnswer(till) {
  const sale = {
    checkout_id: randomUUID(),
    payment_id: randomUUID(),
    lines: [mugs(2)],
    amount: pence(1300),
    identity_id: 'sandbox-answer-lost',
  };
  const sent = till.sent;
  await till.call('Sell', sale);
  assert.ok(till.sent - sent > 1, 'the first answer was to be lost');
  const paid = await followUntil(till, sale.checkout_id, 'HAND_OVER_GOODS');
  assert.equal(paid.paid_by_payment_id, sale.payment_id);
  assert.equal(paid.amount.minor_units, '1300');
  await paidOnce(till, paid);
  return 'the same request was repeated, and paid once';
}

async function restart(till, folder) {
  const journal = path.join(folder, 'crashed.journal');
  const again = [...process.execArgv, __filename, ...process.argv.slice(2)];
  const crashed = spawnSync(process.execPath, [...again, '--crash-after-journal', journal]);
  assert.equal(crashed.signal, 'SIGKILL', `${crashed.stderr}`);
  const restarted = new CountingTill(journal);
  const [{ request }] = restarted.journal.unfinished.values();
  const [{ answer }] = await restarted.resume();
  const paid = await followUntil(restarted, answer.checkout_id, 'HAND_OVER_GOODS');
  assert.equal(paid.paid_by_payment_id, request.payment_id);
  assert.equal(restarted.journal.unfinished.size, 0);
  await paidOnce(restarted, paid);
  restarted.close();
  return 'killed before the answer, resumed from the journal, paid once';
}

async function refundByLines(till) {
  const { checkout_id, lines } = till.sold;
  const request = {
    refund_id: randomUUID(),
    checkout_id,
    lines: [{ line_number: lines[0].line_number, quantity: 1 }],
    note: 'one mug was broken',
  };
  const refund = await till.refund(request);
  assert.equal(`${refund.state} ${refund.amount.minor_units}`, 'STATE_DONE 650');
  return 'one mug of two was given back';
}

async function stream(till) {
  const pending = await order(till, [mugs(1)], 'sandbox-stream-cut');
  const events = [];
  let cursor = 'oldest';
  let streams = 0;
  while (!events.some(({ type }) => type === 'TYPE_PAID')) {
    try {
      for await (const answer of till.watch(pending.checkout_id, cursor)) {
        ({ cursor } = answer);
        events.push(...answer.updates.map(({ event }) => event));
      }
    } catch (error) {
      assert.equal(error.code, grpc.status.UNAVAILABLE, error);
    }
    streams += 1;
    if (streams === 1) await till.pay(pending);
  }
  assert.deepEqual(
    events.map(({ number }) => number),
    events.map((_, index) => String(index + 1)),
  );
  await followUntil(till, pending.checkout_id, 'HAND_OVER_GOODS');
  return `${events.length} events, each once, from ${streams} streams`;
}

async function doNotRetry(till) {
  const waiting = await till.pay(await order(till, [mugs(1)], 'sandbox-unknown'));
  const { checkout_id, verdict_remaining } = expect(waiting, 'WAIT');
  await moveClock(verdict_remaining.seconds - BEFORE_THE_END_S);
  const unknown = await followUntil(till, checkout_id, 'DO_NOT_RETRY');
  await assert.rejects(till.pay(unknown), MayNotPay);
  await followUntil(till, checkout_id, 'SAFE_TO_RETRY', 'PAYMENT_TIMEOUT', ['DO_NOT_RETRY']);
  await till.call('CancelCheckout', { request_id: randomUUID(), checkout_id });
  await followUntil(till, checkout_id, 'CLOSED');
  return 'no other payment while the outcome was not known, then canceled';
}

// Counts what it sends.
class CountingTill extends Till {
  constructor(journal) {
    super({ ...flags, journal });
    this.sent = 0;
  }

  transmit(method, request) {
    this.sent += 1;
    return super.transmit(method, request);
  }
}

// Sells, and is killed before it has looked at the answer.
async function crash(journal) {
  class CrashingTill extends Till {
    async transmit(method, request) {
      await super.transmit(method, request);
      process.kill(process.pid, 'SIGKILL');
    }
  }
  await new CrashingTill({ ...flags, journal }).call('Sell', {
    checkout_id: randomUUID(),
    payment_id: randomUUID(),
    lines: [mugs(1)],
    amount: pence(650),
    identity_id: 'sandbox-paid',
  });
}

async function main() {
  const crashing = flags['crash-after-journal'];
  if (crashing) return crash(crashing);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'till-'));
  const till = new CountingTill(path.join(folder, 'till.journal'));
  const flows = {
    'catalogue and scan': catalogueAndScan,
    sell,
    'ask payer': askPayer,
    'decline and another shopper': declineAndAnotherShopper,
    'cancel and change': cancelAndChange,
    'lost answer': lostAnswer,
    'restart in the middle': restart,
    'refund by lines': refundByLines,
    stream,
    'do not retry': doNotRetry,
  };
  try {
    for (const [name, flow] of Object.entries(flows)) {
      const story = await flow(till, folder).catch((error) => {
        throw new Error(`failed  ${name}: ${error.message}`, { cause: error });
      });
      console.log(`ok  ${name}: ${story}`);
    }
    assert.equal(till.journal.unfinished.size, 0, 'the journal is to be empty');
  } finally {
    till.close();
    fs.rmSync(folder, { recursive: true });
  }
  return undefined;
}

const watchdog = setTimeout(() => fail(new Error('the flows took too long')), ALL_FLOWS_MS);

function fail(error) {
  console.error(error);
  process.exit(1);
}

main().then(() => {
  clearTimeout(watchdog);
  sandbox.close();
}, fail);
