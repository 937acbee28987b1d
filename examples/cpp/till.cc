#include "till.h"

#include <fcntl.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <future>
#include <iostream>
#include <iterator>
#include <random>
#include <set>
#include <sstream>
#include <system_error>
#include <thread>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tillmesh/api/type/v1/annotations.pb.h"

namespace till {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::system_clock;
using google::protobuf::FieldDescriptor;
using google::protobuf::util::TimeUtil;
using std::chrono::milliseconds;

constexpr auto kDeadline = 10s;
constexpr milliseconds kFirstPause = 100ms;
constexpr milliseconds kLongestPause = 5s;
const std::string kPackage = "tillmesh.api.terminal.v1.";
const std::string kTerminal = "terminal.tillmesh";

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::system_error(errno, std::generic_category(), path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The details are in the trailing metadata grpc-status-details-bin, which gRPC for C++ hands out as it is.
template <class Detail>
bool find_detail(const grpc::Status& status, Detail* found) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  const auto& all = details.details();
  return std::any_of(all.begin(), all.end(), [found](const auto& detail) { return detail.UnpackTo(found); });
}

// Pauses that grow from 0.1 to 5 seconds, each a random part of that, so that tills do not come back all at once.
class Backoff {
 public:
  void pause(const grpc::Status& status) {
    std::uniform_int_distribution<milliseconds::rep> part(0, longest_.count());
    milliseconds pause(part(random_));
    google::rpc::RetryInfo retry;
    if (find_detail(status, &retry)) pause += milliseconds(TimeUtil::DurationToMilliseconds(retry.retry_delay()));
    std::this_thread::sleep_for(pause);
    longest_ = std::min(2 * longest_, kLongestPause);
  }
  void reset() { longest_ = kFirstPause; }

 private:
  milliseconds longest_ = kFirstPause;
  std::mt19937 random_{std::random_device{}()};
};

// True where it is not known what came of a call, or where nothing was done because the server has too much to do.
bool is_unanswered(const grpc::Status& status) {
  google::rpc::ErrorInfo info;
  google::rpc::RetryInfo retry;
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return true;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:  // without RetryInfo the message is too large
      return find_detail(status, &retry);
    case grpc::StatusCode::UNKNOWN:  // a lost connection, unless the server says why
    case grpc::StatusCode::CANCELLED:
      return !find_detail(status, &info);
    default:
      return false;
  }
}

bool is_secret(const FieldDescriptor* field) {
  return field->options().GetExtension(tillmesh::api::type::v1::secret);
}

bool has_secret(const google::protobuf::Descriptor* type) {
  for (int i = 0; i < type->field_count(); ++i)
    if (is_secret(type->field(i))) return true;
  return false;
}

std::string to_json(const Message& request) {
  std::unique_ptr<Message> stored(request.New());
  stored->CopyFrom(request);
  for (int i = 0; i < stored->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = stored->GetDescriptor()->field(i);
    if (is_secret(field)) stored->GetReflection()->ClearField(stored.get(), field);
  }
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(*stored, &json).ok()) throw std::runtime_error("no JSON");
  return json;
}

std::string text_of(const Message& message, const FieldDescriptor* field) {
  return field ? message.GetReflection()->GetString(message, field) : "";
}

std::string id_of(const Message& request) { return text_of(request, request.GetDescriptor()->FindFieldByNumber(1)); }

std::string checkout_of(const Message& message) {
  return text_of(message, message.GetDescriptor()->FindFieldByName("checkout_id"));
}

void check(bool is_done, const std::string& what) {
  if (!is_done) throw std::system_error(errno, std::generic_category(), what);
}

bool is_final(terminal::Verdict verdict) {
  return verdict == terminal::VERDICT_HAND_OVER_GOODS || verdict == terminal::VERDICT_CLOSED;
}

// After how long another verdict may be there, which no event says.
milliseconds patience(const Checkout& checkout) {
  if (!checkout.has_verdict_remaining()) return kSilence;
  return std::min(kSilence, milliseconds(TimeUtil::DurationToMilliseconds(checkout.verdict_remaining())) + 1s);
}

}  // namespace

std::string new_id() { return read_file("/proc/sys/kernel/random/uuid").substr(0, 36); }

Refusal::Refusal(const grpc::Status& status) : std::runtime_error(status.error_message()), code(status.error_code()) {
  google::rpc::ErrorInfo info;
  if (!find_detail(status, &info)) return;
  reason = info.reason();
  domain = info.domain();
  metadata.insert(info.metadata().begin(), info.metadata().end());
}

bool Refusal::is_final() const {
  if (reason.empty() || reason == "DEADLINE_REQUIRED") return false;
  switch (code) {
    case grpc::StatusCode::PERMISSION_DENIED:
      return domain != kTerminal;  // of another server it is about the order
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::INTERNAL:
      return false;
    default:
      return true;
  }
}

// A line is "asked ID METHOD JSON" or "done ID". The last one may be half written: then its request was not sent.
Journal::Journal(std::string path) : path_(std::move(path)) {
  std::ifstream old(path_);
  for (std::string line, word; std::getline(old, line) && !old.eof();) {
    std::istringstream words(line);
    Entry entry;
    words >> word >> entry.id >> entry.method >> std::ws;
    std::getline(words, entry.request);
    auto same = [&entry](const Entry& other) { return other.id == entry.id; };
    unfinished_.erase(std::remove_if(unfinished_.begin(), unfinished_.end(), same), unfinished_.end());
    if (word == "asked") unfinished_.push_back(entry);
  }
  const std::string fresh = path_ + ".new";
  file_ = open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  check(file_ >= 0, fresh);
  for (const Entry& entry : unfinished_) append("asked " + entry.id + " " + entry.method + " " + entry.request);
  check(rename(fresh.c_str(), path_.c_str()) == 0, path_);
  const std::string folder = path_.find('/') == std::string::npos ? "." : path_.substr(0, path_.rfind('/') + 1);
  const int entry_of = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  check(entry_of >= 0 && fsync(entry_of) == 0 && close(entry_of) == 0, folder);
}

bool Journal::Entry::read(Message* into) const {
  return google::protobuf::util::JsonStringToMessage(request, into).ok();
}

Journal::~Journal() { close(file_); }

void Journal::begin(const std::string& method, const Message& request) {
  append("asked " + id_of(request) + " " + method + " " + to_json(request));
}

void Journal::finish(const std::string& id) { append("done " + id); }

void Journal::append(const std::string& line) {
  const std::string text = line + "\n";
  check(write(file_, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(file_) == 0, path_);
}

std::shared_ptr<grpc::Channel> connect(const Options& options) {
  const auto read = [&options](const char* name) { return read_file(options.certificates + "/" + name); };
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("terminal." + options.mesh);  // a server is known by its role, wherever it listens
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);                    // who repeats a call should know that it does
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kLongestPause.count());
  const auto own = grpc::SslCredentials({read("ca.pem"), read("key.pem"), read("cert.pem")});
  return grpc::CreateCustomChannel(options.address, own, arguments);
}

Till::Till(const Options& options)
    : channel_(connect(options)),
      stub_(channel_),
      checkouts_(terminal::CheckoutService::NewStub(channel_)),
      journal_(options.journal) {}

grpc::Status Till::send(const std::string& method, const Message& request, Message* answer) {
  const size_t dot = method.find('.');
  const std::string path = "/" + kPackage + method.substr(0, dot) + "/" + method.substr(dot + 1);
  grpc::ClientContext context;
  context.set_deadline(Clock::now() + kDeadline);  // every call needs one
  std::promise<grpc::Status> answered;
  stub_.UnaryCall(&context, path, {}, &request, answer,
                  [&answered](grpc::Status status) { answered.set_value(std::move(status)); });
  return answered.get_future().get();
}

void Till::ask(const std::string& method, const Message& request, Message* answer) {
  for (Backoff backoff;;) {
    const grpc::Status status = send(method, request, answer);
    if (status.ok()) return;
    if (!is_unanswered(status)) throw Refusal(status);
    std::cerr << method << " is not answered yet: " << status.error_message() << "\n";
    backoff.pause(status);
  }
}

void Till::call(const std::string& method, const Message& request, Message* answer) {
  journal_.begin(method, request);
  try {
    ask(method, request, answer);
  } catch (const Refusal& refusal) {
    if (refusal.is_final()) journal_.finish(id_of(request));
    throw;
  }
  journal_.finish(id_of(request));
}

std::vector<Checkout> Till::resume() {
  std::set<std::string> ids;
  for (const Journal::Entry& entry : journal_.unfinished()) ids.insert(repeat(entry));
  ids.erase("");
  std::vector<Checkout> found;
  for (const std::string& id : ids) {
    try {
      found.push_back(get(id));
    } catch (const Refusal& refusal) {
      if (refusal.code != grpc::StatusCode::NOT_FOUND) throw;  // it was never sold
    }
  }
  return found;
}

// Repeats a stored request, and returns the checkout that it is about. What needs the pay code or PIN again is asked of
// the shopper again instead; the checkout's verdict says whether.
std::string Till::repeat(const Journal::Entry& entry) {
  const auto* method = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(kPackage + entry.method);
  if (!method) throw std::runtime_error("the journal has an unknown method: " + entry.method);
  auto* factory = google::protobuf::MessageFactory::generated_factory();
  std::unique_ptr<Message> request(factory->GetPrototype(method->input_type())->New());
  std::unique_ptr<Message> answer(factory->GetPrototype(method->output_type())->New());
  if (!entry.read(request.get())) throw std::runtime_error("the journal has an unreadable request: " + entry.id);
  const bool is_sale = method->name() == "Sell";
  try {
    if (!has_secret(method->input_type()) || is_sale) ask(entry.method, *request, answer.get());
  } catch (const Refusal& refusal) {
    if (!refusal.is_final()) throw;
    if (is_sale && refusal.reason == "INVALID_FIELD") give_up(entry.id);
  }
  journal_.finish(entry.id);
  const std::string id = checkout_of(*answer);
  return id.empty() ? checkout_of(*request) : id;
}

// The terminal does not have a sale, and needs the pay code for it. So its number is used up: a copy of the request
// that is still on its way sells nothing.
void Till::give_up(const std::string& checkout_id) {
  terminal::VoidCheckoutRequest request;
  request.set_refund_id(new_id());
  request.set_checkout_id(checkout_id);
  try {
    call<terminal::VoidCheckoutResponse>("CheckoutService.VoidCheckout", request);
  } catch (const Refusal& refusal) {
    if (refusal.reason != "ORDER_NOT_FOUND" && refusal.domain == kTerminal) throw;
  }
}

Checkout Till::get(const std::string& checkout_id) {
  terminal::GetCheckoutRequest request;
  request.set_checkout_id(checkout_id);
  return read<Checkout>("CheckoutService.GetCheckout", request);
}

Checkout Till::pay(const Checkout& shown, const std::string& pay_code) {
  const terminal::Verdict verdict = get(shown.checkout_id()).verdict();
  if (verdict != terminal::VERDICT_NOT_TRIED && verdict != terminal::VERDICT_SAFE_TO_RETRY)
    throw PaymentNotAllowed("no other payment may start: " + terminal::Verdict_Name(verdict));
  terminal::PayCheckoutRequest request;
  request.set_payment_id(new_id());
  request.set_checkout_id(shown.checkout_id());
  request.set_order_version(shown.order_version());
  *request.mutable_amount() = shown.amount();
  request.set_pay_code(pay_code);
  return call<Checkout>("CheckoutService.PayCheckout", request);
}

// The first answer of each stream says that it listens: what is read after that misses nothing.
Checkout Till::follow(const std::string& checkout_id, const std::function<bool(const Checkout&)>& go_on) {
  Checkout last;
  watch(checkout_id, "", [&](const terminal::WatchCheckoutsResponse& answer, bool is_first) {
    if (!is_first && answer.updates().empty()) return patience(last);
    const Checkout now = is_first ? get(checkout_id) : answer.updates().rbegin()->checkout();
    const bool has_changed = now.verdict() != last.verdict();
    last = now;
    if (has_changed && !go_on(now)) return 0ms;
    return is_final(now.verdict()) ? 0ms : patience(now);
  });
  return last;
}

void Till::watch(const std::string& checkout_id, std::string cursor, const Take& take) {
  milliseconds wait = kSilence;
  for (Backoff backoff;;) {
    terminal::WatchCheckoutsRequest request;
    request.set_checkout_id(checkout_id);
    request.set_cursor(cursor);
    grpc::ClientContext context;
    const auto end = Clock::now() + wait;
    context.set_deadline(end);
    const auto stream = checkouts_->WatchCheckouts(&context, request);
    terminal::WatchCheckoutsResponse answer;
    bool is_first = true, is_left = false;
    while (!is_left && stream->Read(&answer)) {
      wait = take(answer, is_first);
      cursor = answer.cursor();
      is_first = false;
      is_left = wait == 0ms || Clock::now() + wait + 1s < end;  // earlier than this stream would end
    }
    if (is_left) context.TryCancel();
    const grpc::Status status = stream->Finish();
    if (wait == 0ms) return;
    if (!is_first) backoff.reset();
    if (status.ok() || is_left || (!is_first && status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)) continue;
    const Refusal refusal(status);
    if (refusal.reason == "CURSOR_EXPIRED") cursor.clear();
    else if (!is_unanswered(status)) throw refusal;
    backoff.pause(status);
  }
}

}  // namespace till
