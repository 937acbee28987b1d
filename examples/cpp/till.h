// A small client for a till. It stores what it sends, repeats what is not answered, and follows a verdict to its end.
//
// One thread uses it. The rules of every client are in protos/README.md.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tillmesh/api/terminal/v1/checkout_service.grpc.pb.h"

namespace till {

namespace terminal = tillmesh::api::terminal::v1;
using google::protobuf::Message;
using terminal::Checkout;

// A random id (UUID). Each request that changes something has one, which is chosen before it is sent.
std::string new_id();

// The server has refused. Branch on reason and domain, never on the text.
struct Refusal : std::runtime_error {
  explicit Refusal(const grpc::Status& status);

  // False where the refusal is about the caller or a fault of the server: it says nothing about an earlier try of the
  // same request, which may have been served.
  bool is_final() const;

  grpc::StatusCode code;
  std::string reason;
  std::string domain;
  std::map<std::string, std::string> metadata;
};

// Another payment could charge twice, so the till does not start one.
struct PaymentNotAllowed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The requests that have no final answer yet, in a file. Each is on the disk before it is sent. Pay codes and PINs are
// left out.
class Journal {
 public:
  struct Entry {
    std::string id;
    std::string method;
    std::string request;  // JSON

    bool read(Message* into) const;
  };

  // Reads the file, and writes it anew with what is unfinished.
  explicit Journal(std::string path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  void begin(const std::string& method, const Message& request);
  void finish(const std::string& id);

  // What was unfinished when the file was opened.
  const std::vector<Entry>& unfinished() const { return unfinished_; }

 private:
  void append(const std::string& line);

  std::string path_;
  std::vector<Entry> unfinished_;
  int file_ = -1;
};

struct Options {
  std::string address;       // of the store terminal
  std::string certificates;  // a folder with ca.pem, cert.pem and key.pem
  std::string mesh;          // in the server's certificate
  std::string journal;
};

std::shared_ptr<grpc::Channel> connect(const Options& options);

class Till {
 public:
  explicit Till(const Options& options);

  // What the last run left unfinished.
  const std::vector<Journal::Entry>& unfinished() const { return journal_.unfinished(); }

  // Repeats that, and returns the checkouts that it is about.
  std::vector<Checkout> resume();

  // Stores a request that changes something, and sends it until it is answered. `method` is a name of the contracts,
  // such as "CheckoutService.Sell". The first field of the request is its id.
  template <class Answer>
  Answer call(const std::string& method, const Message& request) {
    Answer answer;
    call(method, request, &answer);
    return answer;
  }

  // Sends a request that only reads, until it is answered.
  template <class Answer>
  Answer read(const std::string& method, const Message& request) {
    Answer answer;
    ask(method, request, &answer);
    return answer;
  }

  Checkout get(const std::string& checkout_id);

  // Starts a payment of what the shopper was shown. Without a pay code the checkout's identity pays.
  Checkout pay(const Checkout& shown, const std::string& pay_code = "");

  // Hands out the checkout, and again whenever its verdict has changed, until that is final or `go_on` says false.
  // Returns the checkout as it was handed out last.
  Checkout follow(const std::string& checkout_id, const std::function<bool(const Checkout&)>& go_on);

  // Hands out each answer of WatchCheckouts from a cursor on, and whether it is the first of its stream. A stream that
  // was cut is resumed. `take` returns how long the next answer may take before the stream is opened anew; 0 ends it.
  using Take = std::function<std::chrono::milliseconds(const terminal::WatchCheckoutsResponse&, bool is_first)>;
  void watch(const std::string& checkout_id, std::string cursor, const Take& take);

 private:
  void call(const std::string& method, const Message& request, Message* answer);
  void ask(const std::string& method, const Message& request, Message* answer);
  grpc::Status send(const std::string& method, const Message& request, Message* answer);
  std::string repeat(const Journal::Entry& entry);
  void give_up(const std::string& checkout_id);

  std::shared_ptr<grpc::Channel> channel_;
  grpc::TemplatedGenericStub<Message, Message> stub_;
  std::unique_ptr<terminal::CheckoutService::Stub> checkouts_;
  Journal journal_;
};

// A server is asked again after 30 seconds without any answer of a stream: its connection is dead.
constexpr std::chrono::milliseconds kSilence = std::chrono::seconds(30);

}  // namespace till
