// Plays every flow of a till in a sandbox: tillmesh up --sandbox. Each prints one line, or fails with exit status 1.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "sandbox.h"
#include "till.h"
#include "tillmesh/api/terminal/v1/catalogue_service.pb.h"
#include "tillmesh/api/terminal/v1/scan_service.pb.h"
#include "tillmesh/api/terminal/v1/till_refund_service.pb.h"

using namespace std::chrono_literals;
using namespace tillmesh::api::terminal::v1;
using till::new_id;
using till::Refusal;
using till::Till;

namespace {

constexpr int64_t kPrice = 650;
constexpr auto kLongestFlow = 120s;
constexpr unsigned kAllFlowsS = 300;
const std::string kPin = "2580";

std::string pounds(const tillmesh::api::type::v1::Money& money) {
  const std::string pence = std::to_string(money.minor_units() % 100);
  return std::to_string(money.minor_units() / 100) + "." + (pence.size() < 2 ? "0" : "") + pence + " " +
         money.currency_code();
}

struct Flags {
  std::map<std::string, std::string> values = {
      {"--terminal", "127.0.0.1:7003"},
      {"--sandbox", "127.0.0.1:7004"},
      {"--certificates", ".tillmesh/sandbox/tls/device-store-1+cli"},
      {"--mesh", "sandbox"},
      {"--journal", ""},
  };
  bool crashes = false;
  std::vector<char*> arguments;

  till::Options options(const std::string& journal) const {
    return {values.at("--terminal"), values.at("--certificates"), values.at("--mesh"), journal};
  }
};

// The flows, which share a till. The second one leaves a sale to the eighth.
class Flows {
 public:
  Flows(const Flags& flags, const std::string& folder)
      : flags_(flags),
        folder_(folder),
        till_(flags.options(folder + "/till.journal")),
        sandbox_(flags.values.at("--sandbox")) {}

  std::string catalogue_and_scan() {
    ImportCatalogueItemsRequest import;
    import.set_request_id(new_id());
    CatalogueItem* soap = import.add_items();
    soap->set_sku("SOAP");
    soap->add_gtins("4006381333931");
    soap->set_title("Soap");
    soap->mutable_unit_price()->set_currency_code("GBP");
    soap->mutable_unit_price()->set_minor_units(240);
    till_.call<ImportCatalogueItemsResponse>("CatalogueService.ImportCatalogueItems", import);
    const Checkout basket = open_basket("", {});
    ScanItemRequest scan;
    scan.set_request_id(new_id());
    scan.set_checkout_id(basket.checkout_id());
    scan.set_basket_version(basket.basket_version());
    scan.set_scanned("4006381333931");
    const auto scanned = till_.call<ScanItemResponse>("ScanService.ScanItem", scan);
    expect(scanned.outcome() == ScanItemResponse::OUTCOME_ADDED, "the scanned article to be added");
    const Checkout paid = till_.pay(submit(scanned.checkout()), sandbox_.pay_code("sandbox-paid"));
    expect(end(paid), VERDICT_HAND_OVER_GOODS);
    return paid.lines(0).item().title() + " for " + pounds(paid.amount()) + " is scanned and paid";
  }

  std::string sell() {
    SellRequest sale = sale_of(2, "");
    sale.set_pay_code(sandbox_.pay_code("sandbox-paid"));
    sold_ = end(till_.call<Checkout>("CheckoutService.Sell", sale));
    expect(sold_, VERDICT_HAND_OVER_GOODS);
    return pounds(sold_.amount()) + " is paid in one call";
  }

  std::string ask_payer() {
    const Checkout asked = until(till_.pay(order("sandbox-says-yes", 1)), VERDICT_ASK_PAYER);
    expect(end(asked), VERDICT_HAND_OVER_GOODS);
    const Checkout keyed = until(till_.pay(order("sandbox-pin", 1)), VERDICT_ASK_PAYER);
    expect_refusal("PIN_WRONG", [&] { enter_pin(keyed, "0852"); });
    enter_pin(keyed, kPin);
    expect(end(keyed), VERDICT_HAND_OVER_GOODS);
    return "one shopper says yes on the phone, another one keys in the PIN at the second try";
  }

  std::string another_shopper() {
    const Checkout declined = end(till_.pay(order("", 1), sandbox_.pay_code("sandbox-poor")));
    expect(declined, VERDICT_SAFE_TO_RETRY, "INSUFFICIENT_FUNDS");
    expect(end(till_.pay(declined, sandbox_.pay_code("sandbox-paid"))), VERDICT_HAND_OVER_GOODS);
    return "one shopper has no money, another one pays the same order";
  }

  std::string cancel_and_change() {
    const Checkout asked = until(till_.pay(order("", 2), sandbox_.pay_code("sandbox-silent")), VERDICT_ASK_PAYER);
    CancelCheckoutPaymentRequest cancel;
    cancel.set_request_id(new_id());
    cancel.set_checkout_id(asked.checkout_id());
    const Checkout free = end(till_.call<Checkout>("CheckoutService.CancelCheckoutPayment", cancel));
    expect(free, VERDICT_SAFE_TO_RETRY, "PAYMENT_CANCELED");
    UpdateLineRequest change;
    change.set_request_id(new_id());
    change.set_checkout_id(free.checkout_id());
    change.set_basket_version(free.basket_version());
    change.set_line_number(1);
    change.set_quantity(1);
    const Checkout changed = till_.call<Checkout>("CheckoutService.UpdateLine", change);
    expect(changed.order_version() == 2 && changed.amount().minor_units() == kPrice, "version 2 of the order at 6.50");
    const Checkout paid = end(till_.pay(changed, sandbox_.pay_code("sandbox-paid")));
    expect(paid, VERDICT_HAND_OVER_GOODS);
    return "after the payment is canceled, the order is changed to " + pounds(paid.amount()) + " and paid";
  }

  std::string lost_answer() {
    const SellRequest sale = sale_of(1, "sandbox-answer-lost");
    expect_paid_once(end(till_.call<Checkout>("CheckoutService.Sell", sale)), sale);
    return "the first answer to each request is lost, and the sale is paid once";
  }

  std::string restart_in_the_middle() {
    const std::string journal = folder_ + "/restart.journal";
    const int status = run_child(journal);
    expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the other process to be killed");
    Till again(flags_.options(journal));
    expect(again.unfinished().size() == 1, "one unfinished request in the journal");
    SellRequest sale;
    expect(again.unfinished()[0].read(&sale), "the sale in the journal");
    const std::vector<Checkout> resumed = again.resume();
    expect(resumed.size() == 1, "one checkout to go on with");
    expect_paid_once(end(again, resumed[0]), sale);
    expect_never_sold(folder_ + "/unsent.journal");
    return "a till that was killed finds its sale in the journal, and it is paid once";
  }

  std::string refund_of_a_line() {
    RefundCheckoutRequest request;
    request.set_refund_id(new_id());
    request.set_checkout_id(sold_.checkout_id());
    ReturnedLine* line = request.add_lines();
    line->set_line_number(1);
    line->set_quantity(1);
    TillRefund refund;
    do {
      refund = till_.call<TillRefund>("TillRefundService.RefundCheckout", request);
      if (refund.state() == TillRefund::STATE_PENDING) std::this_thread::sleep_for(1s);
    } while (refund.state() == TillRefund::STATE_PENDING);
    expect(refund.state() == TillRefund::STATE_DONE, "the refund to be done, got " + refund.reason());
    expect(refund.amount().minor_units() == kPrice, "6.50 back, got " + pounds(refund.amount()));
    return "one of two pieces came back, for " + pounds(refund.amount());
  }

  std::string stream() {
    const Checkout basket = open_basket("sandbox-stream-cut", {mugs(1)});
    int64_t events = 0;
    int streams = 0;
    till_.watch(basket.checkout_id(), "oldest", [&](const WatchCheckoutsResponse& answer, bool is_first) {
      streams += is_first;
      for (const CheckoutUpdate& update : answer.updates()) {
        expect(update.event().number() == ++events, "event " + std::to_string(events) + " once and in its turn");
        if (update.event().type() == CheckoutEvent::TYPE_OPENED) submit(basket);
        if (update.event().type() == CheckoutEvent::TYPE_SUBMITTED) till_.pay(update.checkout());
        if (update.event().type() == CheckoutEvent::TYPE_PAID) return 0ms;
      }
      return till::kSilence;
    });
    expect(streams > 1, "a stream that is cut");
    return std::to_string(events) + " events came once each, over " + std::to_string(streams) + " streams";
  }

  std::string do_not_retry() {
    const Checkout unknown = pass_time(till_.pay(order("sandbox-unknown", 1)), VERDICT_DO_NOT_RETRY);
    try {
      till_.pay(unknown);
      throw Failure("expected that no other payment starts");
    } catch (const till::PaymentNotAllowed&) {
    }
    pass_time(unknown, VERDICT_SAFE_TO_RETRY);
    CancelCheckoutRequest cancel;
    cancel.set_request_id(new_id());
    cancel.set_checkout_id(unknown.checkout_id());
    expect(end(till_.call<Checkout>("CheckoutService.CancelCheckout", cancel)), VERDICT_CLOSED);
    return "no payment starts while the outcome is not known, and the order is canceled after it is";
  }

  // Sends a sale, and is killed before it has looked at the answer.
  [[noreturn]] static void crash(const Flags& flags) {
    const till::Options options = flags.options(flags.values.at("--journal"));
    const SellRequest sale = sale_of(1, "sandbox-paid");
    till::Journal(options.journal).begin("CheckoutService.Sell", sale);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 10s);
    Checkout unread;
    CheckoutService::NewStub(till::connect(options))->Sell(&context, sale, &unread);
    std::raise(SIGKILL);
    std::abort();
  }

  // After all flows: no secret was written down, and each request has its final answer.
  void check_journal() const {
    const std::string path = folder_ + "/till.journal";
    std::ifstream file(path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    expect(text.find("CheckoutService.Sell") != std::string::npos, "the sales in the journal");
    for (const char* secret : {"payCode", "\"pin\"", "scanned"})
      expect(text.find(secret) == std::string::npos, std::string("no ") + secret + " in the journal");
    expect(till::Journal(path).unfinished().empty(), "no unfinished request in the journal");
  }

 private:
  static NewLine mugs(int64_t quantity) {
    NewLine line;
    line.set_sku("MUG");
    line.set_title("Mug");
    line.set_quantity(quantity);
    line.set_unit_price_minor(kPrice);
    return line;
  }

  static SellRequest sale_of(int64_t quantity, const std::string& identity_id) {
    SellRequest sale;
    sale.set_checkout_id(new_id());
    sale.set_payment_id(new_id());
    *sale.add_lines() = mugs(quantity);
    sale.mutable_amount()->set_currency_code("GBP");
    sale.mutable_amount()->set_minor_units(quantity * kPrice);
    sale.set_identity_id(identity_id);
    return sale;
  }

  Checkout open_basket(const std::string& identity_id, const std::vector<NewLine>& lines) {
    CreateCheckoutRequest request;
    request.set_request_id(new_id());
    request.set_identity_id(identity_id);
    request.set_currency_code("GBP");
    for (const NewLine& line : lines) *request.add_lines() = line;
    return till_.call<Checkout>("CheckoutService.CreateCheckout", request);
  }

  Checkout submit(const Checkout& basket) {
    SubmitCheckoutRequest request;
    request.set_request_id(new_id());
    request.set_checkout_id(basket.checkout_id());
    request.set_basket_version(basket.basket_version());
    return till_.call<Checkout>("CheckoutService.SubmitCheckout", request);
  }

  // An order of some mugs, under an identity, or for whoever shows a pay code.
  Checkout order(const std::string& identity_id, int64_t quantity) {
    return submit(open_basket(identity_id, {mugs(quantity)}));
  }

  void enter_pin(const Checkout& checkout, const std::string& pin) {
    EnterPinRequest request;
    request.set_request_id(new_id());
    request.set_checkout_id(checkout.checkout_id());
    *request.mutable_amount() = checkout.amount();
    request.set_pin(pin);
    till_.call<Checkout>("CheckoutService.EnterPin", request);
  }

  // The checkout once its payment has an end.
  Checkout end(const Checkout& checkout) { return end(till_, checkout); }

  static Checkout end(Till& till, const Checkout& checkout) {
    const auto goes_on = [](const Checkout& now) { return now.verdict() != VERDICT_SAFE_TO_RETRY; };
    return till.follow(checkout.checkout_id(), goes_on);
  }

  Checkout until(const Checkout& checkout, Verdict verdict) {
    const auto goes_on = [verdict](const Checkout& now) { return now.verdict() != verdict; };
    const Checkout last = till_.follow(checkout.checkout_id(), goes_on);
    expect(last, verdict);
    return last;
  }

  // Moves the sandbox's clock until a verdict is there.
  Checkout pass_time(Checkout checkout, Verdict verdict) {
    const auto end = std::chrono::steady_clock::now() + kLongestFlow;
    while (checkout.verdict() != verdict) {
      expect(std::chrono::steady_clock::now() < end,
             Verdict_Name(verdict) + ", got " + Verdict_Name(checkout.verdict()));
      sandbox_.move_clock(3);
      std::this_thread::sleep_for(500ms);
      checkout = till_.get(checkout.checkout_id());
    }
    return checkout;
  }

  void expect_paid_once(const Checkout& checkout, const SellRequest& sale) {
    expect(checkout, VERDICT_HAND_OVER_GOODS);
    expect(checkout.paid_by_payment_id() == sale.payment_id(), "the sale to be paid by its own payment");
    expect(checkout.amount().minor_units() == sale.amount().minor_units(), "the amount of the sale");
    ListCheckoutEventsRequest request;
    request.set_checkout_id(checkout.checkout_id());
    const auto history = till_.read<ListCheckoutEventsResponse>("CheckoutService.ListCheckoutEvents", request);
    int payments = 0;
    for (const CheckoutEvent& event : history.events())
      payments += event.type() == CheckoutEvent::TYPE_PAYMENT_STARTED;
    expect(payments == 1, "one payment, got " + std::to_string(payments));
  }

  // A till that died before it sent a sale has lost the pay code. It gives the sale up, and a late copy sells nothing.
  void expect_never_sold(const std::string& journal) {
    SellRequest sale = sale_of(1, "");
    sale.set_pay_code(sandbox_.pay_code("sandbox-paid"));
    till::Journal(journal).begin("CheckoutService.Sell", sale);
    expect(Till(flags_.options(journal)).resume().empty(), "no checkout of a sale that was not sent");
    expect_refusal("", [&] { till_.call<Checkout>("CheckoutService.Sell", sale); });
  }

  // Runs this program as the till that crashes; returns how it ended.
  int run_child(const std::string& journal) const {
    const pid_t child = fork();
    if (child == 0) {
      std::vector<char*> arguments = flags_.arguments;
      std::string crash = "--crash-after-journal", flag = "--journal", path = journal;
      arguments.insert(arguments.end(), {crash.data(), flag.data(), path.data(), nullptr});
      execv("/proc/self/exe", arguments.data());
      _exit(127);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
  }

  const Flags& flags_;
  const std::string folder_;
  Till till_;
  Sandbox sandbox_;
  Checkout sold_;
};

Flags read_flags(int argc, char** argv) {
  Flags flags;
  flags.arguments.assign(argv, argv + argc);
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--crash-after-journal") {
      flags.crashes = true;
    } else if (flags.values.count(name) && i + 1 < argc) {
      flags.values[name] = argv[++i];
    } else {
      std::cerr << "flows";
      for (const auto& [known, value] : flags.values) std::cerr << " [" << known << " " << value << "]";
      std::cerr << "\n";
      std::exit(2);
    }
  }
  return flags;
}

}  // namespace

int main(int argc, char** argv) {
  const Flags flags = read_flags(argc, argv);
  alarm(kAllFlowsS);  // ends this program where a server never answers
  if (flags.crashes) Flows::crash(flags);
  std::string folder = std::filesystem::temp_directory_path() / "till-XXXXXX";
  if (!mkdtemp(folder.data())) return 1;
  const std::vector<std::pair<std::string, std::string (Flows::*)()>> all = {
      {"catalogue and scan", &Flows::catalogue_and_scan},
      {"sell", &Flows::sell},
      {"ask payer", &Flows::ask_payer},
      {"decline and another shopper", &Flows::another_shopper},
      {"cancel and change", &Flows::cancel_and_change},
      {"lost answer", &Flows::lost_answer},
      {"restart in the middle", &Flows::restart_in_the_middle},
      {"refund by lines", &Flows::refund_of_a_line},
      {"stream", &Flows::stream},
      {"do not retry", &Flows::do_not_retry},
  };
  int status = 0;
  std::string name;
  try {
    Flows flows(flags, folder);
    for (const auto& [each, flow] : all) {
      name = each;
      const std::string said = (flows.*flow)();
      std::cout << "ok  " << name << ": " << said << std::endl;
    }
    name = "journal";
    flows.check_journal();
  } catch (const std::exception& error) {
    std::cout << "FAILED  " << name << ": " << error.what() << std::endl;
    status = 1;
  }
  std::filesystem::remove_all(folder);
  return status;
}
