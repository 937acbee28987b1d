// A whole checkout from Node: identity, money and phone at the payment server, then basket, order, payment by pay code,
// receipt and refund at a till. Nothing is generated: the .proto files are read when it starts.
'use strict';

const { createHmac, randomUUID } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');
const { parseArgs } = require('node:util');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const { values: flags } = parseArgs({
  options: {
    terminal: { type: 'string', default: '127.0.0.1:7003' },
    payments: { type: 'string', default: '127.0.0.1:7002' },
    certificates: { type: 'string', default: path.join(__dirname, '../../.tillmesh/tls') },
    insecure: { type: 'boolean', default: false },
    protos: { type: 'string', default: path.join(__dirname, '../../protos') },
  },
});

const api = grpc.loadPackageDefinition(
  protoLoader.loadSync(
    [
      'tillmesh/api/payment/v1/account_service.proto',
      'tillmesh/api/payment/v1/identity_service.proto',
      'tillmesh/api/terminal/v1/terminal_service.proto',
      'tillmesh/api/terminal/v1/till_refund_service.proto',
    ],
    // Amounts are 64-bit integers, which a JavaScript number does not hold: they stay strings.
    { includeDirs: [flags.protos], keepCase: true, longs: String, enums: String, defaults: true },
  ),
).tillmesh.api;

// Who one is, is in one's certificate: the platform registers shoppers, a device of the store uses its till. Who the
// server is, is in its: ROLE.MESH, wherever it listens.
function connect(Service, address, own, server) {
  if (flags.insecure) return new Service(address, grpc.credentials.createInsecure());
  const read = (name) => fs.readFileSync(path.join(flags.certificates, own, name));
  const credentials = grpc.credentials.createSsl(read('ca.pem'), read('key.pem'), read('cert.pem'));
  return new Service(address, credentials, { 'grpc.ssl_target_name_override': server });
}

const identities = connect(api.payment.v1.IdentityService, flags.payments, 'platform-cli', 'payments.tillmesh');
const accounts = connect(api.payment.v1.AccountService, flags.payments, 'platform-cli', 'payments.tillmesh');
const till = connect(api.terminal.v1.TerminalService, flags.terminal, 'device-store-1+cli', 'till.tillmesh');
const refunds = connect(api.terminal.v1.TillRefundService, flags.terminal, 'device-store-1+cli', 'till.tillmesh');

const TRIES_MAX = 10;
const DEADLINE_MS = 10_000;

function once(client, method, request) {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + DEADLINE_MS };
    client[method](request, options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

// The request id is chosen here, before anything is sent: the same request may then be sent again as often as needed
// and has its effect once.
async function call(client, method, fields) {
  const request = { request_id: randomUUID(), ...fields };
  for (let tries = 1; ; tries += 1) {
    try {
      return await once(client, method, request);
    } catch (error) {
      const { UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED } = grpc.status;
      const again = [UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED].includes(error.code);
      if (!again || tries === TRIES_MAX) throw new Error(`${method}: ${error.message}`);
      await pause(100 * tries);
    }
  }
}

async function settled(read, isOpen) {
  let record = await read();
  while (isOpen(record)) {
    await pause(200);
    record = await read();
  }
  return record;
}

function pounds(money) {
  const pence = BigInt(money.minor_units);
  return `${money.currency_code} ${pence / 100n}.${String(pence % 100n).padStart(2, '0')}`;
}

// The phone: 20 digits out of its handle, its key and the half minute, made offline (docs/security.md).
function payCode(handle, key, now = Date.now()) {
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(now / 30_000)));
  const mac = createHmac('sha256', key).update(handle).update(step).digest().readBigUInt64BE() % 1_000_000_000n;
  const digits = `27${handle}${String(mac).padStart(9, '0')}`;
  return digits + luhn(digits);
}

// The check digit: every other digit counts twice, from the right.
function luhn(digits) {
  const sum = [...digits].reverse().reduce((total, digit, place) => {
    const value = place % 2 ? Number(digit) : Number(digit) * 2;
    return total + (value > 9 ? value - 9 : value);
  }, 0);
  return (10 - (sum % 10)) % 10;
}

async function main() {
  const payer = `shopper-${randomUUID().slice(0, 8)}`;
  await call(identities, 'CreateIdentity', { identity_id: payer, display_name: 'Ada', currency_code: 'GBP' });
  const wallet = await call(accounts, 'CreateDeposit', {
    identity_id: payer,
    amount: { currency_code: 'GBP', minor_units: 5000 },
  });
  console.log(`${payer} has ${pounds(wallet.posted)}`);
  const phone = await call(identities, 'BindDevice', { identity_id: payer, device_id: `phone-of-${payer}` });

  // Without a payer_id: who pays is known to whoever the pay code is from, and to no store.
  const basket = await call(till, 'CreateCheckout', {
    currency_code: 'GBP',
    lines: [
      { sku: '85123A', title: 'White hanging heart', quantity: 6, unit_price_minor: 255 },
      { sku: '22752', title: 'Set of 7 nesting boxes', quantity: 2, unit_price_minor: 765 },
    ],
  });
  const pending = await call(till, 'SubmitCheckout', { checkout_id: basket.checkout_id });
  console.log(`order ${pending.checkout_id} over ${pounds(pending.amount)} is ${pending.state}`);

  // Consent is to a version and an amount: what the shopper was shown.
  await call(till, 'PayCheckout', {
    checkout_id: pending.checkout_id,
    order_version: pending.order_version,
    amount: pending.amount,
    pay_code: payCode(phone.pay_code_key.handle, phone.pay_code_key.key),
  });
  const paid = await settled(
    () => once(till, 'GetCheckout', { checkout_id: pending.checkout_id }),
    (checkout) => checkout.verdict === 'VERDICT_WAIT',
  );
  console.log(`verdict: ${paid.verdict} ${paid.verdict_reason}, paid by ${paid.payer_display_name}`);
  if (paid.verdict !== 'VERDICT_HAND_OVER_GOODS') throw new Error(`the checkout was not paid: ${paid.verdict_reason}`);

  const returned = await call(refunds, 'RefundCheckout', {
    checkout_id: paid.checkout_id,
    amount: { currency_code: 'GBP', minor_units: 765 },
    note: 'one box was broken',
  });
  const refund = await settled(
    () => once(refunds, 'GetTillRefund', { refund_id: returned.refund_id }),
    (one) => one.state === 'STATE_PENDING',
  );
  console.log(`refund of ${pounds(refund.amount)}: ${refund.state} ${refund.reason}`);

  const { text } = await once(till, 'GetReceipt', { checkout_id: paid.checkout_id });
  console.log(`\n${text}`);
  const left = await once(accounts, 'GetAccount', { account_id: wallet.account_id });
  console.log(`${payer} has ${pounds(left.posted)}`);
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
