// Marks functions that CPU and CUDA kernels share.
#pragma once

#ifdef __CUDACC__
#define KERASDET_HD __host__ __device__ inline
#else
#define KERASDET_HD inline
#endif
