// Loads a SavedModel by the loader that TensorFlow Serving uses and runs its signatures, with no Python and no kerasdet.
//
// serve SAVED_MODEL PICTURE PIXELS HEIGHT WIDTH
//
// PICTURE is an encoded image, PIXELS holds height * width * 3 bytes. Every signature gets a batch of two; each output
// is printed as a line: signature, output, values. A request that is no image must give an error, not the end.
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
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

int main(int argc, char** argv) {
  tensorflow::SavedModelBundle bundle;
  auto status = tensorflow::LoadSavedModel({}, {}, argv[1], {"serve"}, &bundle);
  if (!status.ok()) {
    std::cerr << status << std::endl;
    return 1;
  }
  const std::string picture = Read(argv[2]), pixels = Read(argv[3]);
  tensorflow::Example example;
  (*example.mutable_features()->mutable_feature())["image/encoded"].mutable_bytes_list()->add_value(picture);
  std::cout.precision(9);
  for (const auto& [name, signature] : bundle.GetSignatures()) {
    if (name.rfind("__", 0) == 0) continue;  // the initializer of assets
    std::vector<std::pair<std::string, Tensor>> inputs;
    for (const auto& [key, info] : signature.inputs()) {
      Tensor batch;
      if (info.dtype() == tensorflow::DT_UINT8) batch = Pixels<uint8_t>(pixels, atoi(argv[4]), atoi(argv[5]));
      if (info.dtype() == tensorflow::DT_FLOAT) batch = Pixels<float>(pixels, atoi(argv[4]), atoi(argv[5]));
      if (info.dtype() == tensorflow::DT_STRING) {
        batch = Strings(key == "tf_example" ? example.SerializeAsString() : picture);
        std::vector<Tensor> none;
        const std::string output = signature.outputs().begin()->second.name();
        status = bundle.session->Run({{info.name(), Strings("no image")}}, {output}, {}, &none);
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
