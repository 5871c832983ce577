/* Included before every C file of libsecp256k1 when it is compiled to WASM. */

/* wasm has no 128-bit multiply: emulating one would double the time of a verification. */
#define USE_FORCE_WIDEMUL_INT64 1

/* Two precomputed tables of 2^(window - 2) points of 64 bytes, which do not compress. 15 is the
   default and takes 1 MB; 11 takes 64 kB for three additions more in about fifty. */
#undef ECMULT_WINDOW_SIZE
#define ECMULT_WINDOW_SIZE 11

/* Tables for signing, which the relay never does: the smallest there is. */
#undef COMB_BLOCKS
#define COMB_BLOCKS 2
#undef COMB_TEETH
#define COMB_TEETH 5
