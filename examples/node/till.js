// The client of a till: it writes down what it sends, repeats it until it is answered, and goes by the verdict.
'use strict';

const { randomUUID } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

const DEADLINE_MS = 10_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
const GIVE_UP_AFTER_MS = 60_000;
const SHORTEST_STREAM_MS = 1_000;
const LONGEST_STREAM_MS = 30_000; // a bookmark comes every 15 s: without an answer the connection is dead

// The library repeats no call by its own rules, finds out that a connection is dead, and soon connects again.
const CHANNEL = {
  'grpc.enable_retries': 0,
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 5_000,
};

// The text to show for each verdict. Treat one that is not here as WAIT.
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
const MAY_PAY = ['VERDICT_NOT_TRIED', 'VERDICT_SAFE_TO_RETRY'];

const { UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, OUT_OF_RANGE } = grpc.status;
const { UNAUTHENTICATED, PERMISSION_DENIED, INTERNAL, UNKNOWN, CANCELLED } = grpc.status;

// The part of google/rpc/status.proto and error_details.proto that a till needs; @grpc/grpc-js does not have them.
const rpc = protobuf.parse(
  `syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message RetryInfo { Duration retry_delay = 1; }`,
  { keepCase: true },
).root;

// A server said no. Branch on reason and domain; the text is for people.
class Refusal extends Error {
  constructor(error) {
    super(error.details || error.message);
    this.code = error.code;
    const info = detail(error, 'ErrorInfo');
    this.reason = info?.reason ?? '';
    this.domain = info?.domain ?? '';
    this.metadata = info?.metadata ?? {};
  }

  get text() {
    return this.message;
  }

  // False where the server said nothing about the request, which an earlier try may have brought about.
  get isAnswer() {
    if (this.code === PERMISSION_DENIED) return this.domain !== 'terminal.tillmesh';
    return this.reason !== '' && ![UNAUTHENTICATED, RESOURCE_EXHAUSTED, INTERNAL].includes(this.code);
  }
}

// No answer came. The request stays in the journal: resume() repeats it.
class Unanswered extends Error {}

// The verdict allows no other payment.
class MayNotPay extends Error {}

// The requests without a known end, in a file: a line of JSON for each, and another one once its end is known. A line
// is on the disk before its request is sent.
class Journal {
  constructor(file) {
    this.unfinished = read(file);
    replace(file, [...this.unfinished.values()]);
    this.file = fs.openSync(file, 'a');
  }

  add(id, method, request) {
    // A pay code is written nowhere: the shopper shows another one.
    const { pay_code: _secret, ...kept } = request;
    const entry = { id, method, request: kept };
    this.unfinished.set(id, entry);
    append(this.file, [entry]);
  }

  done(id) {
    if (this.unfinished.delete(id)) append(this.file, [{ id, done: true }]);
  }

  close() {
    fs.closeSync(this.file);
  }
}

function read(file) {
  const unfinished = new Map();
  if (!fs.existsSync(file)) return unfinished;
  // A crash cut the last line off if it has no line break: its request was not sent.
  for (const line of fs.readFileSync(file, 'utf8').split('\n').slice(0, -1)) {
    const entry = JSON.parse(line);
    if (entry.done) unfinished.delete(entry.id);
    else unfinished.set(entry.id, entry);
  }
  return unfinished;
}

function append(file, entries) {
  fs.appendFileSync(file, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
  fs.fsyncSync(file);
}

// Leaves out what is finished. A crash leaves the old file or the new one.
function replace(file, entries) {
  const next = fs.openSync(`${file}.next`, 'w', 0o600);
  append(next, entries);
  fs.closeSync(next);
  fs.renameSync(`${file}.next`, file);
  const folder = fs.openSync(path.dirname(file), 'r');
  fs.fsyncSync(folder);
  fs.closeSync(folder);
}

class Till {
  constructor({ terminal, certificates, protos, mesh, journal }) {
    const { v1 } = load(protos, 'terminal', [
      'catalogue_service',
      'checkout_service',
      'receipt_service',
      'scan_service',
      'till_refund_service',
    ]);
    const credentials = tls(certificates);
    // A server's certificate has the name ROLE.MESH, wherever it listens.
    const options = { ...CHANNEL, 'grpc.ssl_target_name_override': `terminal.${mesh}` };
    this.stubs = {};
    for (const Service of Object.values(v1).filter((found) => found.service)) {
      const stub = new Service(terminal, credentials, options);
      for (const method of Object.keys(Service.service)) this.stubs[method] = stub;
    }
    this.journal = new Journal(journal);
  }

  // Sends a request that changes something. It is written down first, with the id that it has: request_id, or the id
  // of what it makes. The same id never acts twice, so it is repeated until it is answered.
  async call(method, request) {
    const id = request.request_id ?? request.refund_id ?? request.payment_id;
    if (!id) throw new TypeError(`${method} has no id of its own: use ask`);
    this.journal.add(id, method, request);
    try {
      const answer = await this.ask(method, request);
      if (request.request_id || isKnown(answer)) this.journal.done(id);
      return answer;
    } catch (error) {
      if (error instanceof Refusal && error.isAnswer) this.journal.done(id);
      throw error;
    }
  }

  // Sends a request that is not written down: a read, or one with a PIN or a scan.
  async ask(method, request) {
    const end = Date.now() + GIVE_UP_AFTER_MS;
    for (let tries = 0; ; tries += 1) {
      try {
        return await this.transmit(method, request);
      } catch (error) {
        if (!mayRepeat(error)) throw new Refusal(error);
        if (Date.now() > end) throw new Unanswered(`${method}: ${error.message}`);
        await pause(Math.max(askedPause(error), jittered(tries)));
      }
    }
  }

  transmit(method, request) {
    return unary(this.stubs[method], method, request);
  }

  // After a start: repeats the requests of the journal, and gives their answers. Follow the checkouts of these.
  // A request has lost its pay code: it gets the checkout of the first try, or is refused.
  async resume() {
    const ends = [];
    for (const { method, request } of [...this.journal.unfinished.values()]) {
      try {
        ends.push({ method, request, answer: await this.call(method, request) });
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        ends.push({ method, request, refusal: error });
      }
    }
    return ends;
  }

  read(checkoutId) {
    return this.ask('GetCheckout', { checkout_id: checkoutId });
  }

  // Pays what the shopper was shown, with a pay code or under the checkout's identity.
  async pay(shown, payCode = '') {
    const { verdict } = await this.read(shown.checkout_id);
    if (!MAY_PAY.includes(verdict)) throw new MayNotPay(`${verdict}: ${SHOWN[verdict] ?? SHOWN.VERDICT_WAIT}`);
    return this.call('PayCheckout', {
      payment_id: randomUUID(),
      checkout_id: shown.checkout_id,
      order_version: shown.order_version,
      amount: shown.amount,
      pay_code: payCode,
    });
  }

  // Gives money back. The same request again tells how far it is.
  async refund(request) {
    for (let tries = 0; ; tries += 1) {
      const refund = await this.call('RefundCheckout', request);
      if (isKnown(refund)) return refund;
      await pause(jittered(tries));
    }
  }

  // Hands out the checkout at each change of its verdict, up to the final one.
  async *follow(checkoutId) {
    let verdict;
    for await (const checkout of this.observe(checkoutId)) {
      if (checkout.verdict === verdict) continue;
      ({ verdict } = checkout);
      if (isKnown(checkout)) this.journal.done(checkout.payment_id);
      yield checkout;
      if (FINAL.includes(verdict)) return;
    }
  }

  // A verdict that changes by time alone sends no event. So a stream is open for as long as the verdict lasts, and then
  // the checkout is read again.
  async *observe(checkoutId) {
    let cursor = '';
    for (let tries = 0; ; tries += 1) {
      // The cursor is older than the record, so nothing is missed between them.
      cursor ||= (await this.ask('ListCheckouts', { page_size: 1 })).cursor;
      let checkout = await this.read(checkoutId);
      yield checkout;
      try {
        for await (const answer of this.watch(checkoutId, cursor, streamTime(checkout))) {
          tries = 0;
          ({ cursor } = answer);
          for (const update of answer.updates) yield update.checkout;
        }
      } catch (error) {
        if (error.code === OUT_OF_RANGE) cursor = '';
        else if (!mayRepeat(error)) throw new Refusal(error);
      }
      await pause(jittered(tries));
    }
  }

  // The answers of one stream. It ends at any time: go on from the last cursor.
  async *watch(checkoutId, cursor, timeMs = LONGEST_STREAM_MS) {
    const request = { checkout_id: checkoutId, cursor };
    const stream = this.stubs.WatchCheckouts.WatchCheckouts(request, { deadline: Date.now() + timeMs });
    stream.on('error', () => {}); // of the cancellation below; the loop throws every other one
    try {
      yield* stream;
    } finally {
      stream.cancel();
    }
  }

  close() {
    for (const stub of Object.values(this.stubs)) stub.close();
    this.journal.close();
  }
}

// The packages of a folder of contracts; `names` are those of its files.
function load(protos, folder, names) {
  const files = names.map((name) => `tillmesh/api/${folder}/v1/${name}.proto`);
  // Amounts are 64-bit integers, which a JavaScript number does not hold: they stay strings.
  const options = { includeDirs: [protos], keepCase: true, longs: String, enums: String, defaults: true };
  return grpc.loadPackageDefinition(protoLoader.loadSync(files, options)).tillmesh.api[folder];
}

// The certificate says which device calls.
function tls(folder) {
  const read = (name) => fs.readFileSync(path.join(folder, name));
  return grpc.credentials.createSsl(read('ca.pem'), read('key.pem'), read('cert.pem'));
}

function unary(stub, method, request) {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + DEADLINE_MS };
    stub[method](request, options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

// False while a payment, a refund or the undoing of a sale is under way.
function isKnown({ verdict, state, outcome }) {
  const open = ['VERDICT_WAIT', 'VERDICT_ASK_PAYER', 'VERDICT_DO_NOT_RETRY', 'STATE_PENDING', 'OUTCOME_PENDING'];
  return ![verdict, state, outcome].some((found) => open.includes(found));
}

function detail(error, name) {
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!bytes) return undefined;
  const { details } = rpc.lookupType('Status').decode(bytes);
  const found = details.find((any) => any.type_url.endsWith(`/google.rpc.${name}`));
  return found && rpc.lookupType(name).decode(found.value);
}

// UNAVAILABLE and a deadline that passed mean "not known", never "no". So does an error that no server made.
function mayRepeat(error) {
  if (error.code === RESOURCE_EXHAUSTED) return askedPause(error) > 0;
  if ([UNAVAILABLE, DEADLINE_EXCEEDED].includes(error.code)) return true;
  return [INTERNAL, UNKNOWN, CANCELLED].includes(error.code) && !detail(error, 'ErrorInfo');
}

function askedPause(error) {
  const delay = detail(error, 'RetryInfo')?.retry_delay;
  return delay ? Number(delay.seconds) * 1000 + delay.nanos / 1e6 : 0;
}

function jittered(tries) {
  return Math.random() * Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** tries);
}

function streamTime({ verdict, verdict_remaining: remaining }) {
  if (verdict === 'VERDICT_DO_NOT_RETRY') return SHORTEST_STREAM_MS;
  const time = remaining ? Number(remaining.seconds) * 1000 + remaining.nanos / 1e6 : LONGEST_STREAM_MS;
  return Math.min(Math.max(time, SHORTEST_STREAM_MS), LONGEST_STREAM_MS);
}

module.exports = { MayNotPay, Refusal, SHOWN, Till, Unanswered, load, unary };
