# frozen_string_literal: true

# The client of a till: it writes down what it sends, repeats it until it is answered, and goes by the verdict.

require 'json'
require 'securerandom'
require 'google/protobuf/well_known_types'
require 'google/rpc/error_details_pb'
require 'google/rpc/status_pb'
require 'grpc'
require 'tillmesh/api/terminal/v1/catalogue_service_services_pb'
require 'tillmesh/api/terminal/v1/checkout_service_services_pb'
require 'tillmesh/api/terminal/v1/receipt_service_services_pb'
require 'tillmesh/api/terminal/v1/scan_service_services_pb'
require 'tillmesh/api/terminal/v1/till_refund_service_services_pb'

# A server said no. Branch on reason and domain; the text is for people.
class Refusal < StandardError
  include GRPC::Core::StatusCodes

  attr_reader :code, :reason, :domain, :metadata

  def initialize(error)
    super(error.details)
    info = Failures.detail(error, Google::Rpc::ErrorInfo)
    @code = error.code
    @reason = info ? info.reason : ''
    @domain = info ? info.domain : ''
    @metadata = info ? info.metadata.to_h : {}
  end

  def text
    message
  end

  # False where the server said nothing about the request, which an earlier try may have brought about.
  def answer?
    return domain != 'terminal.tillmesh' if code == PERMISSION_DENIED

    !reason.empty? && ![UNAUTHENTICATED, RESOURCE_EXHAUSTED, INTERNAL].include?(code)
  end
end

# No answer came. The request stays in the journal: resume repeats it.
class Unanswered < StandardError; end

# The verdict allows no other payment.
class MayNotPay < StandardError; end

# Reads errors: their details, and whether and when to repeat the call.
module Failures
  include GRPC::Core::StatusCodes

  FIRST_PAUSE_S = 0.1
  LONGEST_PAUSE_S = 5

  module_function

  def detail(error, type)
    status = error.to_rpc_status
    found = status&.details&.find { |any| any.is(type) }
    found&.unpack(type)
  end

  # UNAVAILABLE and a deadline that passed mean "not known", never "no". So does an error that no server made.
  def may_repeat?(error)
    case error.code
    when RESOURCE_EXHAUSTED then asked_pause(error).positive?
    when UNAVAILABLE, DEADLINE_EXCEEDED then true
    when INTERNAL, UNKNOWN, CANCELLED then detail(error, Google::Rpc::ErrorInfo).nil?
    else false
    end
  end

  def asked_pause(error)
    seconds(detail(error, Google::Rpc::RetryInfo)&.retry_delay) || 0
  end

  def jittered(tries)
    rand * [LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**[tries, 10].min].min
  end

  def seconds(duration)
    duration && (duration.seconds + (duration.nanos / 1e9))
  end
end

# The requests without a known end, in a file: a line of JSON for each, and another one once its end is known. A line is
# on the disk before its request is sent.
class Journal
  attr_reader :unfinished

  def initialize(path)
    @unfinished = read(path)
    replace(path)
    @file = File.open(path, 'a')
  end

  def add(id, method, request)
    kept = request.dup
    # A pay code is written nowhere: the shopper shows another one.
    kept.pay_code = '' if kept.respond_to?(:pay_code)
    @unfinished[id] = { 'id' => id, 'method' => method.to_s, 'request' => JSON.parse(kept.to_json) }
    append(@file, [@unfinished[id]])
  end

  def done(id)
    append(@file, [{ 'id' => id, 'done' => true }]) if @unfinished.delete(id)
  end

  def close
    @file.close
  end

  private

  def read(path)
    return {} unless File.exist?(path)

    # A crash cut the last line off if it has no line break: its request was not sent.
    lines = File.readlines(path).select { |line| line.end_with?("\n") }
    lines.each_with_object({}) do |line, unfinished|
      entry = JSON.parse(line)
      entry['done'] ? unfinished.delete(entry['id']) : unfinished[entry['id']] = entry
    end
  end

  def append(file, entries)
    file.write(entries.map { |entry| "#{JSON.generate(entry)}\n" }.join)
    file.flush
    file.fsync
  end

  # Leaves out what is finished. A crash leaves the old file or the new one.
  def replace(path)
    File.open("#{path}.next", 'w', 0o600) { |file| append(file, @unfinished.values) }
    File.rename("#{path}.next", path)
    File.open(File.dirname(path), &:fsync)
  end
end

# A till of a store, at its terminal.
class Till
  V1 = Tillmesh::Api::Terminal::V1
  SERVICES = [
    V1::CatalogueService, V1::CheckoutService, V1::ReceiptService, V1::ScanService, V1::TillRefundService
  ].freeze

  DEADLINE_S = 10
  GIVE_UP_AFTER_S = 60
  SHORTEST_STREAM_S = 1
  LONGEST_STREAM_S = 30 # a bookmark comes every 15 s: without an answer the connection is dead

  # The library repeats no call by its own rules, finds out that a connection is dead, and soon connects again.
  CHANNEL = {
    'grpc.enable_retries' => 0,
    'grpc.keepalive_time_ms' => 20_000,
    'grpc.keepalive_timeout_ms' => 5_000,
    'grpc.initial_reconnect_backoff_ms' => 100,
    'grpc.min_reconnect_backoff_ms' => 5_000, # what a connection gets to be made
    'grpc.max_reconnect_backoff_ms' => 5_000
  }.freeze

  # The text to show for each verdict. Treat one that is not here as WAIT.
  SHOWN = {
    VERDICT_NOT_TRIED: 'to be paid',
    VERDICT_WAIT: 'please wait',
    VERDICT_ASK_PAYER: 'please confirm on your phone, or key in your PIN',
    VERDICT_HAND_OVER_GOODS: 'paid: hand over the goods',
    VERDICT_SAFE_TO_RETRY: 'not paid: show another code, or pay in another way after this checkout is canceled',
    VERDICT_DO_NOT_RETRY: 'the outcome is not known: start no other payment, hand nothing over',
    VERDICT_CLOSED: 'canceled: this order can no longer be paid'
  }.freeze
  FINAL = %i[VERDICT_HAND_OVER_GOODS VERDICT_CLOSED].freeze
  MAY_PAY = %i[VERDICT_NOT_TRIED VERDICT_SAFE_TO_RETRY].freeze
  UNDER_WAY = %i[VERDICT_WAIT VERDICT_ASK_PAYER VERDICT_DO_NOT_RETRY STATE_PENDING OUTCOME_PENDING].freeze

  attr_reader :journal

  def initialize(terminal:, certificates:, mesh:, journal:)
    # A server's certificate has the name ROLE.MESH, wherever it listens.
    options = { **CHANNEL, 'grpc.ssl_target_name_override' => "terminal.#{mesh}" }
    @stubs = {}
    @inputs = {}
    SERVICES.each do |service|
      stub = service::Stub.new(terminal, tls(certificates), channel_args: options, timeout: DEADLINE_S)
      service::Service.rpc_descs.each do |name, description|
        method = GRPC::GenericService.underscore(name.to_s).to_sym
        @stubs[method] = stub
        @inputs[method] = description.input
      end
    end
    @journal = Journal.new(journal)
  end

  # Sends a request that changes something. It is written down first, with the id that it has: request_id, or the id
  # of what it makes. The same id never acts twice, so it is repeated until it is answered.
  def call(method, request)
    field = %i[request_id refund_id payment_id].find { |name| request.respond_to?(name) }
    raise ArgumentError, "#{method} has no id of its own: use ask" unless field

    id = request[field.to_s]
    @journal.add(id, method, request)
    answer = ask(method, request)
    @journal.done(id) if field == :request_id || known?(answer)
    answer
  rescue Refusal => e
    @journal.done(id) if e.answer?
    raise
  end

  # Sends a request that is not written down: a read, or one with a PIN or a scan.
  def ask(method, request)
    give_up_at = now + GIVE_UP_AFTER_S
    tries = 0
    begin
      transmit(method, request)
    rescue GRPC::BadStatus => e
      raise Refusal, e unless Failures.may_repeat?(e)
      raise Unanswered, "#{method}: #{e.message}" if now > give_up_at

      sleep([Failures.asked_pause(e), Failures.jittered(tries)].max)
      tries += 1
      retry
    end
  end

  def transmit(method, request)
    @stubs.fetch(method).public_send(method, request)
  end

  # After a start: repeats the requests of the journal, and gives each method with its answer or Refusal. Follow the
  # checkouts of the answers. A request has lost its pay code: it gets the checkout of the first try, or is refused.
  def resume
    @journal.unfinished.values.map do |entry|
      method = entry['method'].to_sym
      request = @inputs.fetch(method).decode_json(JSON.generate(entry['request']))
      [method, call(method, request)]
    rescue Refusal => e
      [method, e]
    end
  end

  def read(checkout_id)
    ask(:get_checkout, V1::GetCheckoutRequest.new(checkout_id: checkout_id))
  end

  # Pays what the shopper was shown, with a pay code or under the checkout's identity.
  def pay(shown, pay_code = '')
    verdict = read(shown.checkout_id).verdict
    raise MayNotPay, "#{verdict}: #{SHOWN[verdict] || SHOWN[:VERDICT_WAIT]}" unless MAY_PAY.include?(verdict)

    request = V1::PayCheckoutRequest.new(
      payment_id: SecureRandom.uuid, checkout_id: shown.checkout_id, order_version: shown.order_version,
      amount: shown.amount, pay_code: pay_code
    )
    call(:pay_checkout, request)
  end

  # Gives money back. The same request again tells how far it is.
  def refund(request)
    (0..).each do |tries|
      refund = call(:refund_checkout, request)
      return refund if known?(refund)

      sleep(Failures.jittered(tries))
    end
  end

  # Hands out the checkout at each change of its verdict, up to the final one.
  def follow(checkout_id)
    verdict = nil
    observe(checkout_id) do |checkout|
      next if checkout.verdict == verdict

      verdict = checkout.verdict
      @journal.done(checkout.payment_id) if known?(checkout)
      yield checkout
      return checkout if FINAL.include?(verdict)
    end
  end

  # The answers of one stream. It ends at any time: go on from the last cursor.
  def watch(checkout_id, cursor, seconds = LONGEST_STREAM_S, &block)
    request = V1::WatchCheckoutsRequest.new(checkout_id: checkout_id, cursor: cursor)
    deadline = Time.now + seconds
    stream = @stubs[:watch_checkouts].watch_checkouts(request, deadline: deadline, return_op: true)
    stream.execute.each(&block)
  ensure
    stream&.cancel
  end

  def close
    @journal.close
  end

  private

  # A verdict that changes by time alone sends no event. So a stream is open for as long as the verdict lasts, and then
  # the checkout is read again.
  def observe(checkout_id)
    cursor = ''
    tries = 0
    loop do
      # The cursor is older than the record, so nothing is missed between them.
      cursor = ask(:list_checkouts, V1::ListCheckoutsRequest.new(page_size: 1)).cursor if cursor.empty?
      checkout = read(checkout_id)
      yield checkout
      begin
        watch(checkout_id, cursor, stream_seconds(checkout)) do |answer|
          tries = 0
          cursor = answer.cursor
          answer.updates.each { |update| yield update.checkout }
        end
      rescue GRPC::OutOfRange
        cursor = ''
      rescue GRPC::BadStatus => e
        raise Refusal, e unless Failures.may_repeat?(e)
      end
      sleep(Failures.jittered(tries))
      tries += 1
    end
  end

  def stream_seconds(checkout)
    return SHORTEST_STREAM_S if checkout.verdict == :VERDICT_DO_NOT_RETRY

    left = Failures.seconds(checkout.verdict_remaining) || LONGEST_STREAM_S
    left.clamp(SHORTEST_STREAM_S, LONGEST_STREAM_S)
  end

  # False while a payment, a refund or the undoing of a sale is under way.
  def known?(answer)
    %i[verdict state outcome].none? { |field| answer.respond_to?(field) && UNDER_WAY.include?(answer[field.to_s]) }
  end

  # The certificate says which device calls.
  def tls(folder)
    own = %w[ca key cert].map { |name| File.read(File.join(folder, "#{name}.pem")) }
    GRPC::Core::ChannelCredentials.new(*own)
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
