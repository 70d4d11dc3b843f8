/* Products of rows with a matrix of weights, x · Wᵀ + b, in float32.

   Each output is one sum in the order of the inputs, whatever other rows and columns are computed
   beside it: a row's numbers do not depend on its batch, nor on how many threads there are.

   A matrix is packed in panels of 32 columns, each of which is read from its beginning to its end:

     floats  words [in / per word][32 columns]: one float32, or two bfloat16 in the order of inputs
     int8    blocks of 32 inputs, each of scales [32 columns] in bfloat16, then bytes
             [8 quads][32 columns][4 inputs], 128 above the value. Blocks of a row are quantized to
             16 bits: in 8 bits they would cost more accuracy than the weights do. */

/* Numbers in a vector, and rows whose sums of a panel fit into the registers. */
#if defined(__AVX512F__)
enum { LANES = 16, TILE_ROWS = 12, INT8_TILE_ROWS = 4 };
#define ROW_CASES(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12)
#define INT8_ROW_CASES(F) F(1) F(2) F(3) F(4)
#elif defined(__AVX__)
enum { LANES = 8, TILE_ROWS = 3, INT8_TILE_ROWS = 1 };
#define ROW_CASES(F) F(1) F(2) F(3)
#define INT8_ROW_CASES(F) F(1)
#else
enum { LANES = 4, TILE_ROWS = 1, INT8_TILE_ROWS = 1 };
#define ROW_CASES(F) F(1)
#define INT8_ROW_CASES(F) F(1)
#endif
enum { VECTORS = PANEL / LANES, PER_WORD = 4 / sizeof(T), BLOCK = 32, QUADS = BLOCK / 4, MOST = 127 * 256 };
enum { BLOCK_BYTES = PANEL * 2 + PANEL * BLOCK, AHEAD = 2048 };

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));

typedef struct {
    const void *panels;
    const float *bias; /* [out], or NULL */
    int32_t in, out;   /* padded */
    int32_t is_int8, unused;
} matrix;

/* Inputs of a row that are quantized together: scale · (256 · high + low). */
typedef struct {
    float scale;
    int32_t offset; /* -128 times the sum of the values, which the weights' 128 would add */
    int8_t high[BLOCK], low[BLOCK];
} row_block;

typedef struct {
    const matrix *m;
    const T *x;       /* [rows, in] */
    row_block *blocks; /* [rows, in / BLOCK], if the matrix is int8 */
    float *out;       /* [rows, out] */
    int rows, adds;   /* adds: to what is in `out`, only for floats */
} product_task;

#define UNROLL _Pragma("GCC unroll 16")
#define INLINE static inline __attribute__((always_inline))

/* Add the products of all numbers in each word. */
INLINE floats multiply_add(floats sum, words w, words x) {
#if !defined(LUTHIER_BF16)
    return sum + (floats)w * (floats)x;
#elif defined(__AVX512BF16__)
    return (floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)x);
#else
    sum += (floats)(w & 0xffff0000u) * (floats)(x & 0xffff0000u);
    return sum + (floats)(w << 16) * (floats)(x << 16);
#endif
}

INLINE integers multiply_add_bytes(integers sum, words w, uint32_t x) {
#if defined(__AVX512VNNI__)
    return (integers)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, _mm512_set1_epi32(x));
#else
    UNROLL for (int i = 0; i < 4; i++)
        sum += (integers)((w >> 8 * i) & 0xffu) * (int8_t)(x >> 8 * i);
    return sum;
#endif
}

INLINE void load_bias(floats *sums, const float *bias) {
    if (bias) memcpy(sums, bias, PANEL * sizeof(float));
    else memset(sums, 0, PANEL * sizeof(float));
}

/* `rows` is a constant where this is inlined, so that all sums are in registers. */
INLINE void tile(const product_task *t, int panel, int first_row, const int rows) {
    int n = t->m->in / PER_WORD;
    const uint32_t *from = (const uint32_t *)t->m->panels + (int64_t)panel * n * PANEL;
    const uint32_t *x = (const uint32_t *)(t->x + (int64_t)first_row * t->m->in);
    floats sums[TILE_ROWS][VECTORS];
    float *out = t->out + (int64_t)first_row * t->m->out + panel * PANEL;
    UNROLL for (int r = 0; r < rows; r++)
        load_bias(sums[r], t->adds ? out + (int64_t)r * t->m->out
                           : t->m->bias ? t->m->bias + panel * PANEL : 0);
    for (int i = 0; i < n; i++, from += PANEL) {
        words w[VECTORS];
        __builtin_prefetch((const char *)from + AHEAD);
        __builtin_prefetch((const char *)from + AHEAD + 64);
        UNROLL for (int v = 0; v < VECTORS; v++) memcpy(&w[v], from + v * LANES, sizeof w[v]);
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < VECTORS; v++)
                sums[r][v] = multiply_add(sums[r][v], w[v], (words){0} + x[(int64_t)r * n + i]);
    }
    UNROLL for (int r = 0; r < rows; r++)
        memcpy(out + (int64_t)r * t->m->out, sums[r], sizeof sums[r]);
}

INLINE void load_scales(floats *scales, const uint8_t *block) {
    uint16_t halves[PANEL];
    float wide[PANEL];
    memcpy(halves, block, sizeof halves);
    for (int i = 0; i < PANEL; i++) wide[i] = from_bfloat16(halves[i]);
    memcpy(scales, wide, sizeof wide);
}

INLINE void int8_tile(const product_task *t, int panel, int first_row, const int rows) {
    int n = t->m->in / BLOCK;
    const uint8_t *from = (const uint8_t *)t->m->panels + (int64_t)panel * n * BLOCK_BYTES;
    const row_block *x = t->blocks + (int64_t)first_row * n;
    floats sums[INT8_TILE_ROWS][VECTORS];
    UNROLL for (int r = 0; r < rows; r++)
        load_bias(sums[r], t->m->bias ? t->m->bias + panel * PANEL : 0);
    for (int b = 0; b < n; b++, from += BLOCK_BYTES) {
        floats scales[VECTORS];
        integers high[INT8_TILE_ROWS][VECTORS], low[INT8_TILE_ROWS][VECTORS];
        load_scales(scales, from);
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < VECTORS; v++) {
                high[r][v] = (integers){0};
                low[r][v] = high[r][v] + x[(int64_t)r * n + b].offset;
            }
        UNROLL for (int q = 0; q < QUADS; q++) {
            const uint8_t *quad = from + 2 * PANEL + q * 4 * PANEL;
            words w[VECTORS];
            __builtin_prefetch(quad + AHEAD);
            __builtin_prefetch(quad + AHEAD + 64);
            UNROLL for (int v = 0; v < VECTORS; v++)
                memcpy(&w[v], quad + 4 * v * LANES, sizeof w[v]);
            UNROLL for (int r = 0; r < rows; r++) {
                uint32_t highs, lows;
                memcpy(&highs, x[(int64_t)r * n + b].high + 4 * q, 4);
                memcpy(&lows, x[(int64_t)r * n + b].low + 4 * q, 4);
                UNROLL for (int v = 0; v < VECTORS; v++) {
                    high[r][v] = multiply_add_bytes(high[r][v], w[v], highs);
                    low[r][v] = multiply_add_bytes(low[r][v], w[v], lows);
                }
            }
        }
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < VECTORS; v++)
                sums[r][v] += __builtin_convertvector((high[r][v] << 8) + low[r][v], floats)
                              * (scales[v] * x[(int64_t)r * n + b].scale);
    }
    float *out = t->out + (int64_t)first_row * t->m->out + panel * PANEL;
    UNROLL for (int r = 0; r < rows; r++)
        memcpy(out + (int64_t)r * t->m->out, sums[r], sizeof sums[r]);
}

/* As many rows at a time as fit, in tiles of about the same size. */
static inline int next_rows(int left, int most) {
    int tiles = (left + most - 1) / most;
    return (left + tiles - 1) / tiles;
}

#define TILE_CASE(R) case R: tile(t, panel, row, R); break;
static void panel_unit(const void *task, int panel) {
    const product_task *t = task;
    for (int row = 0, count; row < t->rows; row += count)
        switch (count = next_rows(t->rows - row, TILE_ROWS)) { ROW_CASES(TILE_CASE) }
}

#define INT8_TILE_CASE(R) case R: int8_tile(t, panel, row, R); break;
static void int8_panel_unit(const void *task, int panel) {
    const product_task *t = task;
    for (int row = 0, count; row < t->rows; row += count)
        switch (count = next_rows(t->rows - row, INT8_TILE_ROWS)) { INT8_ROW_CASES(INT8_TILE_CASE) }
}

static void quantize_unit(const void *task, int row) {
    const product_task *t = task;
    int n = t->m->in / BLOCK;
    const T *x = t->x + (int64_t)row * t->m->in;
    for (int b = 0; b < n; b++, x += BLOCK) {
        row_block *to = t->blocks + (int64_t)row * n + b;
        float wide[BLOCK], most = 0, invalid = 0;
        widen(wide, x, BLOCK);
        for (int i = 0; i < BLOCK; i++) {
            float size = wide[i] < 0 ? -wide[i] : wide[i];
            most = most > size ? most : size;
            invalid += wide[i] * 0; /* NaN of NaN and infinity */
        }
        float factor = most > 1e-30f ? MOST / most : 0;
        int32_t sum = 0;
        for (int i = 0; i < BLOCK; i++) {
            int32_t value = (int32_t)(wide[i] * factor + 98304.f + .5f) - 98304;
            int32_t high = (value + 128) >> 8;
            to->high[i] = high, to->low[i] = value - 256 * high;
            sum += value;
        }
        to->scale = most / MOST + invalid, to->offset = -128 * sum;
    }
}

static inline int count_panels(const matrix *m) { return m->out / PANEL; }

static inline unit_function panel_unit_of(const matrix *m) {
    return m->is_int8 ? int8_panel_unit : panel_unit;
}

static void quantize_inputs(team *t, const product_task *p) {
    if (p->m->is_int8) run_units(t, quantize_unit, p, p->rows);
}

static void product_pass(team *t, const void *pass) {
    const product_task *p = pass;
    quantize_inputs(t, p);
    run_units(t, panel_unit_of(p->m), p, count_panels(p->m));
}

/* The product alone. */
void product(const threads *pool, const matrix *m, const T *x, row_block *blocks, float *out,
             int64_t rows) {
    product_task task = {m, x, blocks, out, rows, 0};
    run_pass(pool, product_pass, &task);
}
