# frozen_string_literal: true

# Plays the sales of a till in a sandbox, one after the other. Each prints a line, or says what was expected.

$LOAD_PATH.unshift(File.join(__dir__, 'generated'))

require 'open3'
require 'optparse'
require 'rbconfig'
require 'securerandom'
require 'timeout'
require 'tmpdir'
require_relative 'till'
require 'tillmesh/api/sandbox/v1/sandbox_service_services_pb'

V1 = Till::V1
Money = Tillmesh::Api::Type::V1::Money
SandboxV1 = Tillmesh::Api::Sandbox::V1

GTIN = '5012345678900'
PIN = '2580'
BEFORE_THE_END_S = 3
ALL_FLOWS_S = 300
ROOT = File.expand_path('../..', __dir__)

# Counts what it sends.
class CountingTill < Till
  attr_reader :sent

  def transmit(method, request)
    @sent = (@sent || 0) + 1
    super
  end
end

# Is killed before it has looked at an answer.
class CrashingTill < Till
  def transmit(method, request)
    super
    Process.kill(:KILL, Process.pid)
  end
end

# The sales, each a method that tells its story.
class Flows
  NAMES = {
    'catalogue and scan' => :catalogue_and_scan,
    'sell' => :sell,
    'ask payer' => :ask_payer,
    'decline and another shopper' => :decline_and_another_shopper,
    'cancel and change' => :cancel_and_change,
    'lost answer' => :lost_answer,
    'restart in the middle' => :restart,
    'refund by lines' => :refund_by_lines,
    'stream' => :stream,
    'do not retry' => :do_not_retry
  }.freeze

  def initialize(flags, folder)
    @flags = flags
    @folder = folder
    @till = open_till(CountingTill, File.join(folder, 'till.journal'))
    service = SandboxV1::SandboxService::Stub
    @sandbox = service.new(flags[:sandbox], :this_channel_is_insecure, timeout: Till::DEADLINE_S)
  end

  def play
    NAMES.each do |name, flow|
      puts "ok  #{name}: #{public_send(flow)}"
    rescue StandardError => e
      abort "failed  #{name}: #{e.message}\n#{e.backtrace.first(9).join("\n")}"
    end
    expect({}, @till.journal.unfinished)
  end

  def catalogue_and_scan
    article = V1::CatalogueItem.new(sku: 'MUG', gtins: [GTIN], title: 'Mug', unit_price: pence(650))
    import = V1::ImportCatalogueItemsRequest.new(request_id: SecureRandom.uuid, items: [article])
    @till.call(:import_catalogue_items, import)
    basket = @till.call(:create_checkout, V1::CreateCheckoutRequest.new(request_id: SecureRandom.uuid))
    scan = V1::ScanItemRequest.new(
      request_id: SecureRandom.uuid, checkout_id: basket.checkout_id, basket_version: basket.basket_version,
      scanned: GTIN
    )
    scanned = @till.ask(:scan_item, scan)
    expect(:OUTCOME_ADDED, scanned.outcome)
    pending = submit(scanned.checkout)
    expect(pence(650), pending.amount)
    @till.pay(pending, pay_code('sandbox-paid'))
    follow_until(pending.checkout_id, 'HAND_OVER_GOODS')
    'an article was imported, scanned and paid by pay code'
  end

  def sell
    tea = V1::NewLine.new(sku: 'TEA', title: 'Tea', quantity: 1, unit_price_minor: 320)
    sale = @till.call(:sell, sale_of([mugs(2), tea], 1620, pay_code: pay_code('sandbox-paid')))
    @sold = follow_until(sale.checkout_id, 'HAND_OVER_GOODS')
    'a whole sale in one call'
  end

  def ask_payer
    phone = @till.pay(order([mugs(1)], 'sandbox-says-yes'))
    follow_until(phone.checkout_id, 'ASK_PAYER')
    follow_until(phone.checkout_id, 'HAND_OVER_GOODS')

    pad = @till.pay(order([mugs(1)], 'sandbox-pin'))
    follow_until(pad.checkout_id, 'ASK_PAYER')
    refused = refusal('PIN_WRONG') { enter_pin(pad, '0852') }
    enter_pin(pad, PIN)
    follow_until(pad.checkout_id, 'HAND_OVER_GOODS')
    "confirmed on the phone, and by PIN after a wrong one (#{refused.metadata['tries_left']} tries were left)"
  end

  def decline_and_another_shopper
    checkout_id = @till.pay(order([mugs(1)]), pay_code('sandbox-poor')).checkout_id
    declined = follow_until(checkout_id, 'SAFE_TO_RETRY', 'INSUFFICIENT_FUNDS')
    @till.pay(declined, pay_code('sandbox-paid'))
    follow_until(checkout_id, 'HAND_OVER_GOODS')
    'a shopper without money, then another one paid the same checkout'
  end

  def cancel_and_change
    checkout_id = @till.pay(order([mugs(1)]), pay_code('sandbox-silent')).checkout_id
    follow_until(checkout_id, 'ASK_PAYER')
    cancel = V1::CancelCheckoutPaymentRequest.new(request_id: SecureRandom.uuid, checkout_id: checkout_id)
    @till.call(:cancel_checkout_payment, cancel)
    canceled = follow_until(checkout_id, 'SAFE_TO_RETRY', 'PAYMENT_CANCELED')
    update = V1::UpdateLineRequest.new(
      request_id: SecureRandom.uuid, checkout_id: checkout_id, basket_version: canceled.basket_version,
      line_number: canceled.lines[0].line_number, quantity: 3
    )
    changed = @till.call(:update_line, update)
    expect(pence(1950), changed.amount)
    @till.pay(changed, pay_code('sandbox-paid'))
    follow_until(checkout_id, 'HAND_OVER_GOODS')
    'the payment was canceled, the order changed in place, and paid'
  end

  def lost_answer
    sale = sale_of([mugs(2)], 1300, identity_id: 'sandbox-answer-lost')
    sent = @till.sent
    @till.call(:sell, sale)
    raise 'the first answer was to be lost' unless @till.sent - sent > 1

    paid = follow_until(sale.checkout_id, 'HAND_OVER_GOODS')
    expect(sale.payment_id, paid.paid_by_payment_id)
    expect(pence(1300), paid.amount)
    expect_paid_once(paid)
    'the same request was repeated, and paid once'
  end

  def restart
    journal = File.join(@folder, 'crashed.journal')
    again = [RbConfig.ruby, __FILE__, *@flags.flat_map { |name, value| ["--#{name}", value] }]
    output, crashed = Open3.capture2e(*again, '--crash-after-journal', journal)
    raise "kill -9 was expected: #{output}" unless crashed.termsig == Signal.list['KILL']

    restarted = open_till(CountingTill, journal)
    payment_id, = restarted.journal.unfinished.keys
    (_method, answer), = restarted.resume
    paid = follow_until(answer.checkout_id, 'HAND_OVER_GOODS', till: restarted)
    expect(payment_id, paid.paid_by_payment_id)
    expect({}, restarted.journal.unfinished)
    expect_paid_once(paid)
    restarted.close
    'killed before the answer, resumed from the journal, paid once'
  end

  def refund_by_lines
    returned = V1::ReturnedLine.new(line_number: @sold.lines[0].line_number, quantity: 1)
    request = V1::RefundCheckoutRequest.new(
      refund_id: SecureRandom.uuid, checkout_id: @sold.checkout_id, lines: [returned], note: 'one mug was broken'
    )
    refund = @till.refund(request)
    expect([:STATE_DONE, pence(650)], [refund.state, refund.amount])
    'one mug of two was given back'
  end

  def stream
    pending = order([mugs(1)], 'sandbox-stream-cut')
    events = []
    cursor = 'oldest'
    streams = 0
    until events.any? { |event| event.type == :TYPE_PAID }
      ignore_cut do
        @till.watch(pending.checkout_id, cursor) do |answer|
          cursor = answer.cursor
          events.concat(answer.updates.map(&:event))
        end
      end
      streams += 1
      @till.pay(pending) if streams == 1
    end
    expect((1..events.size).to_a, events.map(&:number))
    follow_until(pending.checkout_id, 'HAND_OVER_GOODS')
    "#{events.size} events, each once, from #{streams} streams"
  end

  def do_not_retry
    waiting = @till.pay(order([mugs(1)], 'sandbox-unknown'))
    expect_verdict(waiting, 'WAIT')
    move_clock(waiting.verdict_remaining.seconds - BEFORE_THE_END_S)
    unknown = follow_until(waiting.checkout_id, 'DO_NOT_RETRY')
    expect_may_not_pay(unknown)
    follow_until(unknown.checkout_id, 'SAFE_TO_RETRY', 'PAYMENT_TIMEOUT', on_the_way: ['DO_NOT_RETRY'])
    cancel = V1::CancelCheckoutRequest.new(request_id: SecureRandom.uuid, checkout_id: unknown.checkout_id)
    @till.call(:cancel_checkout, cancel)
    follow_until(unknown.checkout_id, 'CLOSED')
    'no other payment while the outcome was not known, then canceled'
  end

  # Sells, and is killed before it has looked at the answer.
  def crash(journal)
    open_till(CrashingTill, journal).call(:sell, sale_of([mugs(1)], 650, identity_id: 'sandbox-paid'))
  end

  private

  def open_till(type, journal)
    type.new(journal: journal, **@flags.slice(:terminal, :certificates, :mesh))
  end

  def pay_code(payer)
    @sandbox.show_pay_code(SandboxV1::ShowPayCodeRequest.new(identity_id: payer)).pay_code
  end

  def move_clock(seconds)
    by = Google::Protobuf::Duration.new(seconds: seconds)
    @sandbox.move_clock(SandboxV1::MoveClockRequest.new(by: by))
  end

  def mugs(quantity)
    V1::NewLine.new(sku: 'MUG', title: 'Mug', quantity: quantity, unit_price_minor: 650)
  end

  def pence(minor)
    Money.new(currency_code: 'GBP', minor_units: minor)
  end

  def sale_of(lines, minor, **payer)
    V1::SellRequest.new(
      checkout_id: SecureRandom.uuid, payment_id: SecureRandom.uuid, lines: lines, amount: pence(minor), **payer
    )
  end

  # A pending order, under an identity or for whoever shows a pay code.
  def order(lines, payer = '')
    create = V1::CreateCheckoutRequest.new(request_id: SecureRandom.uuid, identity_id: payer, lines: lines)
    submit(@till.call(:create_checkout, create))
  end

  def submit(basket)
    request = V1::SubmitCheckoutRequest.new(
      request_id: SecureRandom.uuid, checkout_id: basket.checkout_id, basket_version: basket.basket_version
    )
    @till.call(:submit_checkout, request)
  end

  def enter_pin(checkout, pin)
    request = V1::EnterPinRequest.new(
      request_id: SecureRandom.uuid, checkout_id: checkout.checkout_id, amount: checkout.amount, pin: pin
    )
    @till.ask(:enter_pin, request)
  end

  # Follows a checkout up to this verdict; the till may show only these on the way.
  def follow_until(checkout_id, verdict, reason = '', on_the_way: %w[WAIT ASK_PAYER], till: @till)
    till.follow(checkout_id) do |checkout|
      return expect_verdict(checkout, verdict, reason) if checkout.verdict == :"VERDICT_#{verdict}"
      next if on_the_way.any? { |other| checkout.verdict == :"VERDICT_#{other}" }

      raise "#{verdict} was expected, the till shows: #{Till::SHOWN[checkout.verdict]} #{checkout.verdict_reason}"
    end
  end

  def expect(expected, found)
    raise "#{expected} was expected, not #{found}" unless found == expected
  end

  def expect_verdict(checkout, verdict, reason = '')
    expect([:"VERDICT_#{verdict}", reason], [checkout.verdict, checkout.verdict_reason])
    checkout
  end

  def refusal(reason)
    yield
  rescue Refusal => e
    expect(reason, e.reason)
    e
  else
    raise "a refusal was expected: #{reason}"
  end

  def ignore_cut
    yield
  rescue GRPC::Unavailable
    nil
  end

  def expect_may_not_pay(checkout)
    @till.pay(checkout)
  rescue MayNotPay
    nil
  else
    raise 'no other payment was to be started'
  end

  def expect_paid_once(paid)
    request = V1::ListCheckoutEventsRequest.new(checkout_id: paid.checkout_id, page_size: 200)
    types = @till.ask(:list_checkout_events, request).events.map(&:type)
    expect([1, 1], [types.count(:TYPE_PAYMENT_STARTED), types.count(:TYPE_PAID)])
  end
end

flags = {
  terminal: '127.0.0.1:7003',
  sandbox: '127.0.0.1:7004',
  certificates: File.join(ROOT, '.tillmesh/sandbox/tls/device-store-1+cli'),
  mesh: 'sandbox'
}
crashed_journal = nil
OptionParser.new do |options|
  flags.each_key { |name| options.on("--#{name} VALUE") { |value| flags[name] = value } }
  options.on('--crash-after-journal FILE') { |file| crashed_journal = file }
end.parse!

$stdout.sync = true
Dir.mktmpdir('till-') do |folder|
  flows = Flows.new(flags, folder)
  Timeout.timeout(ALL_FLOWS_S) { crashed_journal ? flows.crash(crashed_journal) : flows.play }
end
