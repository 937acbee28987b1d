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
      'tillmesh/api/payment/v1/phone_service.proto',
      'tillmesh/api/terminal/v1/checkout_service.proto',
      'tillmesh/api/terminal/v1/receipt_service.proto',
      'tillmesh/api/terminal/v1/till_refund_service.proto',
    ],
    // Amounts are 64-bit integers, which a JavaScript number does not hold: they stay strings.
    { includeDirs: [flags.protos], keepCase: true, longs: String, enums: String, defaults: true },
  ),
).tillmesh.api;

// The certificate says who calls: the platform registers shoppers, a device of the store uses its till. A server's
// certificate has the name ROLE.MESH, wherever it listens.
function connect(Service, address, own, server) {
  if (flags.insecure) return new Service(address, grpc.credentials.createInsecure());
  const read = (name) => fs.readFileSync(path.join(flags.certificates, own, name));
  const credentials = grpc.credentials.createSsl(read('ca.pem'), read('key.pem'), read('cert.pem'));
  return new Service(address, credentials, { 'grpc.ssl_target_name_override': server });
}

const identities = connect(api.payment.v1.IdentityService, flags.payments, 'platform-cli', 'payments.tillmesh');
const accounts = connect(api.payment.v1.AccountService, flags.payments, 'platform-cli', 'payments.tillmesh');
const phones = connect(api.payment.v1.PhoneService, flags.payments, 'platform-cli', 'payments.tillmesh');
const till = connect(api.terminal.v1.CheckoutService, flags.terminal, 'device-store-1+cli', 'terminal.tillmesh');
const receipts = connect(api.terminal.v1.ReceiptService, flags.terminal, 'device-store-1+cli', 'terminal.tillmesh');
const refunds = connect(api.terminal.v1.TillRefundService, flags.terminal, 'device-store-1+cli', 'terminal.tillmesh');

const TRIES_MAX = 10;
const PAYMENTS_MAX = 3;
const DEADLINE_MS = 10_000;
const POLL_MS = 200;

// What the till shows for each verdict. Only HAND_OVER_GOODS and CLOSED are final; every other one can change.
const SHOWN = {
  VERDICT_NOT_TRIED: 'to be paid',
  VERDICT_WAIT: 'please wait',
  VERDICT_ASK_PAYER: 'please confirm on your phone, or key in your PIN',
  VERDICT_HAND_OVER_GOODS: 'paid: hand over the goods',
  VERDICT_SAFE_TO_RETRY: 'not paid: show another code, or pay in another way after this checkout is canceled',
  VERDICT_DO_NOT_RETRY: 'the outcome is not known: start no other payment, hand nothing over',
  VERDICT_CLOSED: 'canceled: this order can no longer be paid',
};
const FINAL = ['VERDICT_HAND_OVER_GOODS', 'VERDICT_CLOSED'];

function once(client, method, request) {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + DEADLINE_MS };
    client[method](request, options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

// Each request has an id that is chosen before it is sent: a request_id, or the id of what it makes, such as
// payment_id. So the same request may be sent again as often as needed, and it has its effect once.
async function call(client, method, request) {
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
    await pause(POLL_MS);
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

// Consent is to a version and an amount: what the shopper was shown.
function paymentOf(checkout, payCode) {
  return {
    payment_id: randomUUID(),
    checkout_id: checkout.checkout_id,
    order_version: checkout.order_version,
    amount: checkout.amount,
    pay_code: payCode,
  };
}

// Pays until the verdict is final. SAFE_TO_RETRY is not: another payment of this order may start, and a phone can
// still pay it, so money is taken in another way only after CancelCheckout has answered CLOSED.
async function payUntilFinal(checkout, showCode) {
  let current = checkout;
  let shown;
  let payments = 0;
  for (;;) {
    if (current.verdict !== shown) console.log(`the till shows: ${SHOWN[current.verdict]} ${current.verdict_reason}`);
    shown = current.verdict;
    if (FINAL.includes(current.verdict)) return current;
    if (['VERDICT_NOT_TRIED', 'VERDICT_SAFE_TO_RETRY'].includes(current.verdict)) {
      current =
        payments < PAYMENTS_MAX
          ? await call(till, 'PayCheckout', paymentOf(current, showCode()))
          : await call(till, 'CancelCheckout', { request_id: randomUUID(), checkout_id: checkout.checkout_id });
      payments += 1;
    } else {
      await pause(POLL_MS);
      current = await call(till, 'GetCheckout', { checkout_id: checkout.checkout_id });
    }
  }
}

async function main() {
  const shopper = `shopper-${randomUUID().slice(0, 8)}`;
  const pounds40 = { currency_code: 'GBP', minor_units: 4000 };
  // A new id is its own request id. Without a threshold the shopper would have to confirm every payment.
  await call(identities, 'CreateIdentity', {
    identity_id: shopper,
    display_name: 'Ada',
    currency_code: 'GBP',
    confirmation_threshold: pounds40,
  });
  const deposit = await call(accounts, 'CreateDeposit', {
    deposit_id: randomUUID(),
    identity_id: shopper,
    amount: { currency_code: 'GBP', minor_units: 5000 },
  });
  console.log(`${shopper} has put in ${pounds(deposit.amount)}`);
  const phone = await call(phones, 'BindPhone', {
    request_id: randomUUID(),
    identity_id: shopper,
    phone_id: `phone-of-${shopper}`,
  });

  // Without an identity_id: the pay code says who pays, and the store does not learn it.
  const basket = await call(till, 'CreateCheckout', {
    request_id: randomUUID(),
    currency_code: 'GBP',
    lines: [
      { sku: '85123A', title: 'White hanging heart', quantity: 6, unit_price_minor: 255 },
      { sku: '22752', title: 'Set of 7 nesting boxes', quantity: 2, unit_price_minor: 765 },
    ],
    labels: { 'order-of': 'the example' },
    cashier_id: 'c-7',
  });
  const pending = await call(till, 'SubmitCheckout', {
    request_id: randomUUID(),
    checkout_id: basket.checkout_id,
    basket_version: basket.basket_version,
  });
  console.log(`order ${pending.checkout_id} over ${pounds(pending.amount)} is ${pending.state}`);

  const { handle, key } = phone.pay_code_key;
  const paid = await payUntilFinal(pending, () => payCode(handle, key));
  console.log(`verdict: ${paid.verdict}, paid by ${paid.payer_display_name}`);
  if (paid.verdict !== 'VERDICT_HAND_OVER_GOODS') throw new Error('the checkout was not paid');

  const returned = await call(refunds, 'RefundCheckout', {
    refund_id: randomUUID(),
    checkout_id: paid.checkout_id,
    lines: [{ line_number: paid.lines[1].line_number, quantity: 1 }],
    note: 'one box was broken',
  });
  const refund = await settled(
    () => call(refunds, 'GetTillRefund', { refund_id: returned.refund_id }),
    (one) => one.state === 'STATE_PENDING',
  );
  console.log(`refund of ${pounds(refund.amount)}: ${refund.state} ${refund.reason}`);

  const { text } = await call(receipts, 'GetReceipt', { checkout_id: paid.checkout_id });
  console.log(`\n${text}`);
  const left = await call(accounts, 'GetAccount', { account_id: `wallet/${shopper}/GBP` });
  console.log(`${shopper} has ${pounds(left.posted)}`);
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
