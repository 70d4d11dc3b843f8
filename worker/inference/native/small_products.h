/* Products of bfloat16 or float32 with small matrices, for LoRA and attention in training. Each number
   is one sum in float32 in a fixed order, whatever other rows and columns are computed beside it: it
   does not depend on how many threads there are. Columns are whole vectors.

   Where one instruction multiplies two numbers of bfloat16, a matrix is first copied into words, each
   of which has two numbers that follow each other in the sum. */

/* Sums of a tile, which are in registers: rows by vectors of columns, or ranks of one vector. There are
   tiles of some numbers of rows: one for each number would take long to compile, as large ones do
   whose products of bfloat16 are several instructions. */
#if defined(__AVX512F__) && (defined(__AVX512BF16__) || !defined(LUTHIER_BF16))
enum { PROJECT_VECTORS = 2, UPDATE_VECTORS = 4, SUMMED_RANKS = 16 };
#define PROJECT_CASES(F) F(12) F(8) F(4) F(2) F(1)
#define UPDATE_CASES(F) F(6) F(4) F(2) F(1)
#else
enum { PROJECT_VECTORS = 2, UPDATE_VECTORS = 2, SUMMED_RANKS = 8 };
#define PROJECT_CASES(F) F(4) F(2) F(1)
#define UPDATE_CASES(F) F(4) F(2) F(1)
#endif
/* Of the widest vectors, as in structs.py. */
enum { MAX_ROWS = 12, MAX_LANES = 16 };

/* Not compiled anew for each caller: each is long, with a tile for each number of rows. */
#define SEPARATE static __attribute__((noinline, noclone))

static inline int units_of(int64_t size, int unit) { return (size + unit - 1) / unit; }
static inline int at_most(int64_t left, int most) { return left < most ? left : most; }
static inline int whole_words(int ranks) { return units_of(ranks, PER_WORD) * PER_WORD; }
static inline int whole_vectors(int size) { return units_of(size, LANES) * LANES; }

/* to [n / PER_WORD][to_stride]: numbers of a row that follow each other, of from [rows][n]. */
static void transpose_words(uint32_t *restrict to, int to_stride, const T *restrict from, int n,
                            int rows, int first, int end) {
    for (int i = first; i < end; i += PER_WORD) {
        uint32_t *words = to + (int64_t)(i / PER_WORD) * to_stride;
        if (i + PER_WORD <= n)
            for (int r = 0; r < rows; r++) memcpy(words + r, from + (int64_t)r * n + i, 4);
        else
            for (int r = 0; r < rows; r++) {
                words[r] = 0;
                memcpy(words + r, from + (int64_t)r * n + i, (n - i) * sizeof(T));
            }
    }
}

static inline uint32_t as_word(T number) {
#ifdef LUTHIER_BF16
    return number;
#else
    return to_bits(number);
#endif
}

/* to [rows / PER_WORD][to_stride]: numbers of rows that follow each other, of from [rows][stride]. */
static void pair_rows(uint32_t *restrict to, int to_stride, const T *restrict from, int64_t stride,
                      int rows, int n) {
    for (int r = 0; r < rows; r += PER_WORD, to += to_stride) {
        const T *row = from + r * stride;
        for (int i = 0; i < n; i++) to[i] = as_word(row[i]);
        if (PER_WORD == 2 && r + 1 < rows)
            for (int i = 0; i < n; i++) to[i] |= as_word(row[stride + i]) << 16;
    }
}

INLINE words load_pair(const T *row, const T *next) {
    typedef T numbers __attribute__((vector_size(sizeof(T) * LANES)));
    numbers first, second;
    memcpy(&first, row, sizeof first);
#ifdef LUTHIER_BF16
    memcpy(&second, next, sizeof second);
    return __builtin_convertvector(first, words) | __builtin_convertvector(second, words) << 16;
#else
    (void)second, (void)next;
    return (words)first;
#endif
}

INLINE uint32_t load_word(const T *from) {
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

INLINE void store_narrow(T *to, floats wide) {
#if defined(LUTHIER_BF16) && defined(__AVX512BF16__)
    __m256bh narrow = _mm512_cvtneps_pbh((__m512)wide);
    memcpy(to, &narrow, sizeof narrow);
#else
    float numbers[LANES];
    memcpy(numbers, &wide, sizeof numbers);
    for (int i = 0; i < LANES; i++) to[i] = put(numbers[i]);
#endif
}

/* z = scale · x · Pᵀ of n numbers of some rows, and `count` columns of P's words. */
INLINE void project_tile(const T *x, int64_t stride, const uint32_t *panel, int panel_stride, int n,
                         T *z, int width, int count, float scale, const int rows,
                         const int vectors) {
    floats sums[MAX_ROWS][PROJECT_VECTORS];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = (floats){0};
    for (int i = 0; i < n; i += PER_WORD, panel += panel_stride) {
        words w[PROJECT_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++) memcpy(&w[v], panel + v * LANES, sizeof w[v]);
        UNROLL for (int r = 0; r < rows; r++) {
            words inputs = (words){0} + load_word(x + r * stride + i);
            UNROLL for (int v = 0; v < vectors; v++)
                sums[r][v] = multiply_add(sums[r][v], w[v], inputs);
        }
    }
    if (count == vectors * LANES) {
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < vectors; v++)
                store_narrow(z + (int64_t)r * width + v * LANES, scale * sums[r][v]);
        return;
    }
    for (int r = 0; r < rows; r++) {
        T narrow[PROJECT_VECTORS * LANES];
        UNROLL for (int v = 0; v < vectors; v++) store_narrow(narrow + v * LANES, scale * sums[r][v]);
        memcpy(z + (int64_t)r * width, narrow, count * sizeof(T));
    }
}

/* The same for any numbers of rows and columns. */
SEPARATE void project_rows(const T *x, int64_t stride, const uint32_t *panel, int panel_stride,
                           int n, T *z, int width, int columns, float scale, int rows) {
#define PROJECT_TILE(R, V) \
    project_tile(x + row * stride, stride, panel + column, panel_stride, n, \
                 z + (int64_t)row * width + column, width, at_most(columns - column, V * LANES), \
                 scale, R, V)
#define PROJECT_ROWS(R) \
    for (; rows - row >= R; row += R) { \
        int column = 0; \
        for (; column + LANES < columns; column += PROJECT_VECTORS * LANES) \
            PROJECT_TILE(R, PROJECT_VECTORS); \
        if (column < columns) PROJECT_TILE(R, 1); \
    }
    int row = 0;
    PROJECT_CASES(PROJECT_ROWS)
}

/* y += scale · z · P of some rows and vectors of columns, times `mask` if there is one. */
INLINE void update_tile(T *y, const T *mask, int64_t stride, const T *z, int width,
                        const uint32_t *panel, int panel_stride, int ranks, float scale,
                        const int rows, const int vectors) {
    floats sums[MAX_ROWS][UPDATE_VECTORS];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = (floats){0};
    for (int k = 0; k < ranks; k += PER_WORD, panel += panel_stride) {
        words w[UPDATE_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++) memcpy(&w[v], panel + v * LANES, sizeof w[v]);
        UNROLL for (int r = 0; r < rows; r++) {
            words inputs = (words){0} + load_word(z + (int64_t)r * width + k);
            UNROLL for (int v = 0; v < vectors; v++)
                sums[r][v] = multiply_add(sums[r][v], w[v], inputs);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) {
            int64_t place = r * stride + v * LANES;
            floats factor = (floats){0} + scale;
            if (mask) factor *= load_wide(mask + place);
            /* One expression, of which all tiles make a fused multiply-add, or none. */
            store_narrow(y + place, load_wide(y + place) + factor * sums[r][v]);
        }
}

SEPARATE void update_rows(T *y, const T *mask, int64_t stride, int columns, const T *z, int width,
                          const uint32_t *panel, int panel_stride, int ranks, float scale,
                          int rows) {
#define UPDATE_TILE(R, V) { \
    int64_t place = row * stride + column; \
    update_tile(y + place, mask ? mask + place : 0, stride, z + (int64_t)row * width, width, \
                panel + column, panel_stride, ranks, scale, R, V); \
}
#define UPDATE_ROWS(R) \
    for (; rows - row >= R; row += R) { \
        int column = 0; \
        for (; column + UPDATE_VECTORS * LANES <= columns; column += UPDATE_VECTORS * LANES) \
            UPDATE_TILE(R, UPDATE_VECTORS) \
        for (; column < columns; column += LANES) UPDATE_TILE(R, 1) \
    }
    int row = 0;
    UPDATE_CASES(UPDATE_ROWS)
}

/* out [ranks] = pairsᵀ · x of one vector of columns, over all rows. */
INLINE void sum_rows_tile(const T *x, int64_t stride, int64_t rows, const uint32_t *pairs, int width,
                          floats *out, const int ranks) {
    static const T zeros[LANES];
    floats sums[SUMMED_RANKS];
    UNROLL for (int k = 0; k < ranks; k++) sums[k] = (floats){0};
    for (int64_t row = 0; row < rows; row += PER_WORD, x += PER_WORD * stride, pairs += width) {
        words w = load_pair(x, row + 1 < rows ? x + stride : zeros);
        UNROLL for (int k = 0; k < ranks; k++)
            sums[k] = multiply_add(sums[k], w, (words){0} + pairs[k]);
    }
    UNROLL for (int k = 0; k < ranks; k++) out[k] = sums[k];
}

/* As many as fit of the ranks that are left, which are whole words. */
SEPARATE int sum_rows(const T *x, int64_t stride, int64_t rows, const uint32_t *pairs, int width,
                      int ranks, floats *out) {
    if (ranks >= SUMMED_RANKS) {
        sum_rows_tile(x, stride, rows, pairs, width, out, SUMMED_RANKS);
        return SUMMED_RANKS;
    }
    if (ranks >= SUMMED_RANKS / 2) {
        sum_rows_tile(x, stride, rows, pairs, width, out, SUMMED_RANKS / 2);
        return SUMMED_RANKS / 2;
    }
    sum_rows_tile(x, stride, rows, pairs, width, out, PER_WORD);
    return PER_WORD;
}

/* LoRA of one of the layers that are computed as one: b [columns, rank]. In rows of z it begins at `first_z`, and
   has whole words. */
typedef struct {
    const T *b;
    T *b_gradient;
    int32_t first_column, columns, first_rank, rank, first_z, unused;
} trained_part;

/* Layers with the same input: a [ranks, in]. `width` is that of z, `max_rank` the largest rank. */
typedef struct {
    const T *a;
    T *a_gradient;
    int32_t in, out, width, max_rank, num_parts;
    float scaling;
    trained_part parts[PARTS];
} trained_lora;
