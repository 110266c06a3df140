// Loads a SavedModel by the loader that TensorFlow Serving uses and runs its signatures, with no Python and no kerasdet.
//
// serve SAVED_MODEL PICTURE PIXELS HEIGHT WIDTH [REQUESTS]
//
// PICTURE is an encoded image, PIXELS holds height * width * 3 bytes. Every signature gets a batch of two; each output
// is printed as a line: signature, output, values. A request that is no image must give an error, not the end. Where
// proposals are an input, they are the whole picture and its upper left quarter. With REQUESTS, so many good and bad
// requests come from eight threads at once instead: a good one must give what it gave alone, bit for bit, and a bad one an
// error; a line says how many of each there were, and how many bytes the process grew from the first half on.
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/example/example.pb.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/public/session_options.h"

using tensorflow::Tensor;

std::string Read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Tensor Strings(const std::string& text) {
  Tensor batch(tensorflow::DT_STRING, {2});
  for (int i = 0; i < 2; ++i) batch.flat<tensorflow::tstring>()(i) = text;
  return batch;
}

template <typename T>
Tensor Pixels(const std::string& bytes, int height, int width) {
  Tensor batch(tensorflow::DataTypeToEnum<T>::value, {2, height, width, 3});
  auto flat = batch.flat<T>();
  for (int64_t i = 0; i < flat.size(); ++i) flat(i) = static_cast<T>(static_cast<uint8_t>(bytes[i % bytes.size()]));
  return batch;
}

Tensor Proposals(float height, float width) {
  Tensor batch(tensorflow::DT_FLOAT, {2, 2, 4});
  const float boxes[] = {0, 0, width, height, 0, 0, width / 2, height / 2};
  for (int i = 0; i < 16; ++i) batch.flat<float>()(i) = boxes[i % 8];
  return batch;
}

int64_t Resident() {
  std::ifstream file("/proc/self/statm");
  int64_t size, resident;
  file >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// The good requests of a model come first, then the bad ones.
int Mixed(
    const tensorflow::SavedModelBundle& bundle, const std::string& picture, const std::string& pixels, int height,
    int width, int requests) {
  struct Request {
    const char *signature, *input;
    Tensor batch;
  };
  const auto filled = [&](float value) {
    Tensor batch(tensorflow::DT_FLOAT, {2, height, width, 3});
    batch.flat<float>().setConstant(value);
    return batch;
  };
  const std::vector<Request> all = {
      {"image_bytes", "image_bytes", Strings(picture)},
      {"serving_default", "images", Pixels<uint8_t>(pixels, height, width)},
      {"float_images", "images", Pixels<float>(pixels, height, width)},
      {"image_bytes", "image_bytes", Strings("no image")},
      {"image_bytes", "image_bytes", Strings("")},
      {"image_bytes", "image_bytes", Strings(picture.substr(0, picture.size() / 2))},
      {"tf_example", "tf_example", Strings("no example")},
      {"serving_default", "images", Tensor(tensorflow::DT_UINT8, {2, 0, width, 3})},
      {"serving_default", "images", Tensor(tensorflow::DT_UINT8, {2, height, width, 4})},
      {"serving_default", "images", filled(9)},
      {"float_images", "images", filled(0.5)},
      {"float_images", "images", filled(-90)},
      {"float_images", "images", filled(std::numeric_limits<float>::quiet_NaN())},
  };
  constexpr size_t kGood = 3;
  const auto run = [&](size_t i, std::vector<Tensor>* found) {
    const auto& signature = bundle.GetSignatures().at(all[i].signature);
    std::vector<std::pair<std::string, Tensor>> inputs{{signature.inputs().at(all[i].input).name(), all[i].batch}};
    if (signature.inputs().count("proposals")) {
      inputs.emplace_back(signature.inputs().at("proposals").name(), Proposals(height, width));
    }
    const auto& outputs = signature.outputs();
    return bundle.session->Run(
        inputs, {outputs.at("detection_boxes").name(), outputs.at("detection_scores").name()}, {}, found);
  };
  std::vector<std::vector<Tensor>> alone(kGood);
  for (size_t i = 0; i < kGood; ++i) {
    if (!run(i, &alone[i]).ok()) return 1;
  }
  std::atomic<int> next{0}, good{0}, refused{0}, wrong{0};
  std::atomic<int64_t> half{0};
  const auto work = [&] {
    for (int n = next++; n < requests; n = next++) {
      if (n == requests / 2) half = Resident();
      const size_t i = n % 2 ? n / 2 % kGood : kGood + n / 2 % (all.size() - kGood);
      std::vector<Tensor> found;
      const bool fine = run(i, &found).ok();
      if (fine != (i < kGood)) {
        ++wrong;
      } else if (!fine) {
        ++refused;
      } else {
        bool same = true;
        for (size_t k = 0; k < found.size(); ++k) same &= found[k].tensor_data() == alone[i][k].tensor_data();
        ++(same ? good : wrong);
      }
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) threads.emplace_back(work);
  for (auto& thread : threads) thread.join();
  std::cout << "good " << good << " refused " << refused << " wrong " << wrong << " grown " << Resident() - half << "\n";
  return 0;
}

int main(int argc, char** argv) {
  tensorflow::SavedModelBundle bundle;
  auto status = tensorflow::LoadSavedModel({}, {}, argv[1], {"serve"}, &bundle);
  if (!status.ok()) {
    std::cerr << status << std::endl;
    return 1;
  }
  const int height = atoi(argv[4]), width = atoi(argv[5]);
  const std::string picture = Read(argv[2]), pixels = Read(argv[3]);
  if (argc > 6) return Mixed(bundle, picture, pixels, height, width, atoi(argv[6]));
  tensorflow::Example example;
  (*example.mutable_features()->mutable_feature())["image/encoded"].mutable_bytes_list()->add_value(picture);
  std::cout.precision(9);
  for (const auto& [name, signature] : bundle.GetSignatures()) {
    if (name.rfind("__", 0) == 0) continue;  // the initializer of assets
    std::vector<std::pair<std::string, Tensor>> inputs;
    if (auto found = signature.inputs().find("proposals"); found != signature.inputs().end()) {
      inputs.emplace_back(found->second.name(), Proposals(height, width));
    }
    for (const auto& [key, info] : signature.inputs()) {
      if (key == "proposals") continue;
      Tensor batch;
      if (info.dtype() == tensorflow::DT_UINT8) batch = Pixels<uint8_t>(pixels, height, width);
      if (info.dtype() == tensorflow::DT_FLOAT) batch = Pixels<float>(pixels, height, width);
      if (info.dtype() == tensorflow::DT_STRING) {
        batch = Strings(key == "tf_example" ? example.SerializeAsString() : picture);
        std::vector<Tensor> none;
        const std::string output = signature.outputs().begin()->second.name();
        auto wrong = inputs;
        wrong.emplace_back(info.name(), Strings("no image"));
        status = bundle.session->Run(wrong, {output}, {}, &none);
        std::cout << name << " refuses " << absl::StatusCodeToString(status.code()) << "\n";
      }
      inputs.emplace_back(info.name(), batch);
    }
    for (const auto& [key, info] : signature.outputs()) {
      std::vector<Tensor> found;
      status = bundle.session->Run(inputs, {info.name()}, {}, &found);
      if (!status.ok()) {
        std::cerr << name << ": " << status << std::endl;
        return 1;
      }
      std::cout << name << " " << key;
      if (found[0].dtype() == tensorflow::DT_FLOAT) {
        for (int64_t i = 0; i < found[0].NumElements(); ++i) std::cout << " " << found[0].flat<float>()(i);
      } else {
        for (int64_t i = 0; i < found[0].NumElements(); ++i) std::cout << " " << found[0].flat<tensorflow::tstring>()(i);
      }
      std::cout << "\n";
    }
  }
}
