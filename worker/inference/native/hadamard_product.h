/* Products of a training step with frozen weights, x · Wᵀ + b, by int8 of blocks of 32 inputs.

   Both sides of a block are multiplied by the same Hadamard matrix, which leaves their product what
   it is, but for a factor of 32: an input that is much larger than the others of its block becomes
   a part of all of them, and takes no accuracy from them (Ashkboos et al. 2024, "QuaRot",
   arXiv:2404.00456, of whole rows). Then each is rounded to 8 bits of its own scale. Sums
   of a block are exact, in int32, and are added in float32 in the order of the blocks: a row's
   numbers depend on nothing but the row.

   Only where processors multiply bytes (VNNI) and bfloat16. */

#if defined(LUTHIER_BF16) && defined(__AVX512BF16__) && defined(__AVX512VNNI__)

typedef struct {
    float scale;
    int32_t offset; /* -128 times the sum of the values, which the weights' 128 would add */
    int8_t values[BLOCK];
} hadamard_block;

/* A block of a panel; bytes are 128 above the value. */
typedef struct {
    float scales[PANEL];
    uint8_t quads[QUADS][PANEL][4];
} hadamard_weights;

enum { HADAMARD_TILE_ROWS = 6, HADAMARD_UNIT_ROWS = 192, QUANTIZED_UNIT_ROWS = 8, MOST_BYTE = 127 };

/* Rounding is to nearest even, and numbers below this are zeros. */
static const float SMALLEST = 1e-30f;

INLINE __m512 butterfly(__m512 x, __m512 partner, __mmask16 second) {
    return _mm512_mask_sub_ps(_mm512_add_ps(x, partner), second, partner, x);
}

/* x · H of 16 numbers. */
INLINE __m512 transform(__m512 x) {
    x = butterfly(x, _mm512_shuffle_f32x4(x, x, 0x4e), 0xff00);
    x = butterfly(x, _mm512_shuffle_f32x4(x, x, 0xb1), 0xf0f0);
    x = butterfly(x, _mm512_permute_ps(x, 0x4e), 0xcccc);
    return butterfly(x, _mm512_permute_ps(x, 0xb1), 0xaaaa);
}

/* Transform and quantize a block. Of numbers that are not finite the scale is not finite. */
INLINE hadamard_block quantize_block(const T *x) {
    __m512i raw = _mm512_loadu_si512(x);
    __m512 even = (__m512)_mm512_slli_epi32(raw, 16);
    __m512 odd = (__m512)_mm512_and_si512(raw, _mm512_set1_epi32(0xffff0000));
    __m512 first = transform(_mm512_add_ps(even, odd)), second = transform(_mm512_sub_ps(even, odd));
    float most = _mm512_reduce_max_ps(
        _mm512_max_ps(_mm512_abs_ps(first), _mm512_abs_ps(second)));
    __m512 factor = _mm512_set1_ps(most > SMALLEST ? MOST_BYTE / most : 0);
    __m256i values = _mm256_set_m128i(
        _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(second, factor))),
        _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(first, factor))));
    __m256i sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), values);
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    hadamard_block block = {most / MOST_BYTE, -128 * _mm_cvtsi128_si32(sum), {0}};
    memcpy(block.values, &values, BLOCK);
    return block;
}

typedef struct {
    const T *weight; /* [out, in] */
    hadamard_weights *panels; /* [out / PANEL, in / BLOCK] */
    int in, out;
} hadamard_packing;

static void pack_hadamard_unit(const void *task, int panel) {
    const hadamard_packing *t = task;
    int n = t->in / BLOCK;
    for (int column = 0; column < PANEL; column++) {
        const T *from = t->weight + ((int64_t)panel * PANEL + column) * t->in;
        hadamard_weights *to = t->panels + (int64_t)panel * n;
        for (int b = 0; b < n; b++) {
            hadamard_block block = quantize_block(from + b * BLOCK);
            to[b].scales[column] = block.scale / BLOCK;
            for (int i = 0; i < BLOCK; i++)
                to[b].quads[i / 4][column][i % 4] = block.values[i] + 128;
        }
    }
}

static void pack_hadamard_pass(team *t, const void *pass) {
    const hadamard_packing *p = pass;
    run_units(t, pack_hadamard_unit, p, p->out / PANEL);
}

void pack_hadamard(const threads *pool, int64_t out, int64_t in, const T *weight, void *panels) {
    hadamard_packing packing = {weight, panels, in, out};
    run_pass(pool, pack_hadamard_pass, &packing);
}

typedef struct {
    const hadamard_weights *panels;
    const float *bias;     /* [out], or NULL */
    const T *x;            /* [rows, in] */
    hadamard_block *blocks; /* [rows, in / BLOCK] */
    T *y;                  /* [rows, out] */
    int64_t rows;
    int in, out;
} hadamard_task;

static void quantize_rows_unit(const void *task, int unit) {
    const hadamard_task *t = task;
    int64_t n = t->in / BLOCK, first = (int64_t)unit * QUANTIZED_UNIT_ROWS * n;
    int64_t end = first + QUANTIZED_UNIT_ROWS * n;
    for (int64_t b = first; b < end && b < t->rows * n; b++)
        t->blocks[b] = quantize_block(t->x + b * BLOCK);
}

/* `rows` is a constant where this is inlined, so that all sums are in registers. */
INLINE void hadamard_tile(const hadamard_task *t, int panel, int64_t first_row, const int rows) {
    int n = t->in / BLOCK;
    const hadamard_weights *w = t->panels + (int64_t)panel * n;
    const hadamard_block *x = t->blocks + first_row * n;
    __m512 sums[HADAMARD_TILE_ROWS][2];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < 2; v++)
            sums[r][v] = t->bias ? _mm512_loadu_ps(t->bias + panel * PANEL + v * LANES)
                                 : _mm512_setzero_ps();
    for (int b = 0; b < n; b++, w++, x++) {
        __m512i totals[HADAMARD_TILE_ROWS][2];
        UNROLL for (int r = 0; r < rows; r++)
            totals[r][0] = totals[r][1] = _mm512_set1_epi32(x[(int64_t)r * n].offset);
        UNROLL for (int q = 0; q < QUADS; q++) {
            __m512i left = _mm512_loadu_si512(w->quads[q]);
            __m512i right = _mm512_loadu_si512(w->quads[q] + LANES);
            UNROLL for (int r = 0; r < rows; r++) {
                int32_t quad;
                memcpy(&quad, x[(int64_t)r * n].values + 4 * q, 4);
                __m512i values = _mm512_set1_epi32(quad);
                totals[r][0] = _mm512_dpbusd_epi32(totals[r][0], left, values);
                totals[r][1] = _mm512_dpbusd_epi32(totals[r][1], right, values);
            }
        }
        UNROLL for (int r = 0; r < rows; r++) {
            __m512 scale = _mm512_set1_ps(x[(int64_t)r * n].scale);
            UNROLL for (int v = 0; v < 2; v++) {
                __m512 scales = _mm512_mul_ps(scale, _mm512_loadu_ps(w->scales + v * LANES));
                sums[r][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(totals[r][v]), scales, sums[r][v]);
            }
        }
    }
    T *y = t->y + first_row * t->out + panel * PANEL;
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < 2; v++) {
            __m256bh rounded = _mm512_cvtneps_pbh(sums[r][v]);
            memcpy(y + (int64_t)r * t->out + v * LANES, &rounded, sizeof rounded);
        }
}

#define HADAMARD_CASE(R) case R: hadamard_tile(t, panel, row, R); break;
static void hadamard_unit(const void *task, int unit) {
    const hadamard_task *t = task;
    int panels = t->out / PANEL, panel = unit % panels;
    int64_t row = (int64_t)(unit / panels) * HADAMARD_UNIT_ROWS, end = row + HADAMARD_UNIT_ROWS;
    if (end > t->rows) end = t->rows;
    for (int count; row < end; row += count)
        switch (count = next_rows(end - row, HADAMARD_TILE_ROWS)) {
            HADAMARD_CASE(1) HADAMARD_CASE(2) HADAMARD_CASE(3)
            HADAMARD_CASE(4) HADAMARD_CASE(5) HADAMARD_CASE(6)
        }
}

static void hadamard_pass(team *t, const void *pass) {
    const hadamard_task *p = pass;
    int units = (p->rows + HADAMARD_UNIT_ROWS - 1) / HADAMARD_UNIT_ROWS * (p->out / PANEL);
    run_units(t, quantize_rows_unit, p, (p->rows + QUANTIZED_UNIT_ROWS - 1) / QUANTIZED_UNIT_ROWS);
    run_units(t, hadamard_unit, p, units);
}

void hadamard_product(const threads *pool, int64_t rows, int64_t in, int64_t out,
                     const void *panels, const float *bias, const T *x, void *blocks, T *y) {
    hadamard_task task = {panels, bias, x, blocks, y, rows, in, out};
    run_pass(pool, hadamard_pass, &task);
}

#endif
