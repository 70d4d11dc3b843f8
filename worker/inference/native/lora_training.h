/* Products of LoRA's matrices in a training step, forward and backward:

     z = x · Aᵀ    y += s · z · Bᵀ        dz = s · dy · B     dx += dz · A
                                          dB = s · dyᵀ · z    dA = dzᵀ · x

   Each number is one sum in float32 in a fixed order, whatever other rows and columns are computed
   beside it: it does not depend on how many threads there are.

   Where one instruction multiplies two numbers of bfloat16, matrices are first copied into `words`,
   each of which has two numbers that follow each other in the sum. */

/* Sums of a tile, which are in registers: rows by vectors of columns, or ranks of one vector. */
#if defined(__AVX512F__)
enum { PROJECT_ROWS = 12, PROJECT_VECTORS = 2, UPDATE_ROWS = 6, UPDATE_VECTORS = 4, SUMMED_RANKS = 16 };
#define PROJECT_CASES(F) ROW_CASES(F)
#define UPDATE_CASES(F) F(1) F(2) F(3) F(4) F(5) F(6)
#else
enum { PROJECT_ROWS = 4, PROJECT_VECTORS = 2, UPDATE_ROWS = 4, UPDATE_VECTORS = 2, SUMMED_RANKS = 8 };
#define PROJECT_CASES(F) GROUP_CASES(F)
#define UPDATE_CASES(F) GROUP_CASES(F)
#endif
enum { UNIT_ROWS = 24, UNIT_COLUMNS = 64 };

/* One of the merged layers: b [columns, rank]. In rows of z it begins at `first_z`, and
   has whole words. */
typedef struct {
    const T *b;
    T *b_gradient;
    int32_t first_column, columns, first_rank, rank, first_z, unused;
} trained_part;

/* Layers with the same input: a [ranks, in]. `width` is that of z, `most_rank` the largest rank. */
typedef struct {
    const T *a;
    T *a_gradient;
    int32_t in, out, width, most_rank, num_parts;
    float scaling;
    trained_part parts[PARTS];
} trained_lora;

typedef struct {
    const trained_lora *lora;
    const T *x, *mask; /* inputs; factors of dx, or NULL */
    T *y, *z;          /* outputs, or their gradients, and those of z */
    T *dz, *grad_x;    /* or NULL */
    uint32_t *a, *b, *pairs; /* words of A, of B, and of rows of z or dz */
    int64_t rows;
} lora_task;

static inline int units_of(int64_t size, int unit) { return (size + unit - 1) / unit; }
static inline int at_most(int64_t left, int most) { return left < most ? left : most; }
static inline int whole_words(int ranks) { return units_of(ranks, PER_WORD) * PER_WORD; }
static inline int whole_vectors(int size) { return units_of(size, LANES) * LANES; }

/* The part that a unit of columns belongs to, whose number in the part it becomes; NULL after all. */
static const trained_part *find_part(const trained_lora *l, int *unit) {
    for (const trained_part *p = l->parts; p < l->parts + l->num_parts; p++) {
        int units = units_of(p->columns, UNIT_COLUMNS);
        if (*unit < units) return p;
        *unit -= units;
    }
    return 0;
}

static int count_part_units(const trained_lora *l) {
    int units = 0;
    for (int i = 0; i < l->num_parts; i++) units += units_of(l->parts[i].columns, UNIT_COLUMNS);
    return units;
}

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
    floats sums[PROJECT_ROWS][PROJECT_VECTORS];
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
    UNROLL for (int r = 0; r < rows; r++) {
        T narrow[PROJECT_VECTORS * LANES];
        UNROLL for (int v = 0; v < vectors; v++) store_narrow(narrow + v * LANES, scale * sums[r][v]);
        memcpy(z + (int64_t)r * width, narrow, count * sizeof(T));
    }
}

/* All columns of z, or of a part of it. */
static void project_rows(const T *x, int64_t stride, const uint32_t *panel, int panel_stride, int n, T *z,
                    int width, int columns, float scale, int rows) {
#define PROJECT_TILE(R, V) \
    project_tile(x + row * stride, stride, panel + column, panel_stride, n, \
                 z + (int64_t)row * width + column, width, at_most(columns - column, V * LANES), \
                 scale, R, V)
#define PROJECT_WIDE(R) case R: PROJECT_TILE(R, PROJECT_VECTORS); break;
#define PROJECT_NARROW(R) case R: PROJECT_TILE(R, 1); break;
    for (int row = 0, count; row < rows; row += count) {
        int column = 0;
        count = next_rows(rows - row, PROJECT_ROWS);
        for (; column + LANES < columns; column += PROJECT_VECTORS * LANES)
            switch (count) { PROJECT_CASES(PROJECT_WIDE) }
        if (column < columns)
            switch (count) { PROJECT_CASES(PROJECT_NARROW) }
    }
}

/* y += scale · z · P of some rows and vectors of columns, times `mask` if there is one. */
INLINE void update_tile(T *y, const T *mask, int64_t stride, const T *z, int width,
                        const uint32_t *panel, int panel_stride, int ranks, float scale,
                        const int rows, const int vectors) {
    floats sums[UPDATE_ROWS][UPDATE_VECTORS];
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
            floats sum = scale * sums[r][v];
            if (mask) sum *= load_wide(mask + place);
            store_narrow(y + place, load_wide(y + place) + sum);
        }
}

static void update_rows(T *y, const T *mask, int64_t stride, int columns, const T *z, int width,
                   const uint32_t *panel, int panel_stride, int ranks, float scale, int rows) {
#define UPDATE_TILE(R, V) { \
    int64_t place = row * stride + column; \
    update_tile(y + place, mask ? mask + place : 0, stride, z + (int64_t)row * width, width, \
                panel + column, panel_stride, ranks, scale, R, V); \
}
#define UPDATE_WIDE(R) case R: UPDATE_TILE(R, UPDATE_VECTORS) break;
#define UPDATE_NARROW(R) case R: UPDATE_TILE(R, 1) break;
    for (int column = 0, size; column < columns; column += size) {
        size = column + UPDATE_VECTORS * LANES <= columns ? UPDATE_VECTORS * LANES : LANES;
        for (int row = 0, count; row < rows; row += count) {
            count = next_rows(rows - row, UPDATE_ROWS);
            if (size == LANES)
                switch (count) { UPDATE_CASES(UPDATE_NARROW) }
            else
                switch (count) { UPDATE_CASES(UPDATE_WIDE) }
        }
    }
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
static int sum_rows(const T *x, int64_t stride, int64_t rows, const uint32_t *pairs, int width,
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

static void forward_words_unit(const void *task, int unit) {
    const lora_task *t = task;
    const trained_lora *l = t->lora;
    int units = units_of(l->in, UNIT_COLUMNS), stride = whole_vectors(l->width);
    if (unit < units) {
        int first = unit * UNIT_COLUMNS, end = first + at_most(l->in - first, UNIT_COLUMNS);
        int64_t words = (int64_t)(end - first) / PER_WORD * stride;
        memset(t->a + (int64_t)first / PER_WORD * stride, 0, words * 4);
        for (const trained_part *p = l->parts; p < l->parts + l->num_parts; p++)
            transpose_words(t->a + p->first_z, stride, l->a + (int64_t)p->first_rank * l->in, l->in,
                            p->rank, first, end);
        return;
    }
    unit -= units;
    const trained_part *p = find_part(l, &unit);
    int column = unit * UNIT_COLUMNS, columns = at_most(p->columns - column, UNIT_COLUMNS);
    transpose_words(t->b + p->first_column + column, l->out, p->b + (int64_t)column * p->rank,
                    p->rank, columns, 0, p->rank);
}

static void forward_rows_unit(const void *task, int unit) {
    const lora_task *t = task;
    const trained_lora *l = t->lora;
    int64_t row = (int64_t)unit * UNIT_ROWS;
    int rows = at_most(t->rows - row, UNIT_ROWS), stride = whole_vectors(l->width);
    T *z = t->z + row * l->width;
    project_rows(t->x + row * l->in, l->in, t->a, stride, l->in, z, l->width, l->width, 1, rows);
    for (const trained_part *p = l->parts; p < l->parts + l->num_parts; p++)
        update_rows(t->y + row * l->out + p->first_column, 0, l->out, p->columns, z + p->first_z,
               l->width, t->b + p->first_column, l->out, p->rank, l->scaling, rows);
}

static void lora_forward_pass(team *team, const void *pass) {
    const lora_task *t = pass;
    const trained_lora *l = t->lora;
    run_units(team, forward_words_unit, t, units_of(l->in, UNIT_COLUMNS) + count_part_units(l));
    run_units(team, forward_rows_unit, t, units_of(t->rows, UNIT_ROWS));
}

/* Compute z [rows, width], and add to y [rows, out]. `memory` has words of A and B. */
void lora_forward(const threads *pool, const trained_lora *l, int64_t rows, const T *x, T *y, T *z,
                  uint32_t *memory) {
    uint32_t *b = memory + (int64_t)l->in / PER_WORD * whole_vectors(l->width);
    lora_task task = {l, x, 0, y, z, 0, 0, memory, b, 0, rows};
    run_pass(pool, lora_forward_pass, &task);
}

static void pair_rows_of_z(const lora_task *t, const T *z, int unit) {
    int64_t row = (int64_t)unit * UNIT_COLUMNS;
    int width = t->lora->width;
    pair_rows(t->pairs + row / PER_WORD * width, width, z + row * width, width,
              at_most(t->rows - row, UNIT_COLUMNS), width);
}

static void backward_words_unit(const void *task, int unit) {
    const lora_task *t = task;
    const trained_lora *l = t->lora;
    const trained_part *p = find_part(l, &unit);
    if (p) {
        int column = unit * UNIT_COLUMNS, columns = at_most(p->columns - column, UNIT_COLUMNS);
        int stride = whole_vectors(l->most_rank);
        uint32_t *to = t->b + (int64_t)(p->first_column + column) / PER_WORD * stride;
        memset(to, 0, (int64_t)columns / PER_WORD * stride * 4);
        pair_rows(to, stride, p->b + (int64_t)column * p->rank, p->rank, columns, p->rank);
        return;
    }
    int units = units_of(t->rows, UNIT_COLUMNS), first = (unit - units) * UNIT_COLUMNS;
    if (unit < units) pair_rows_of_z(t, t->z, unit);
    else
        for (p = l->parts; p < l->parts + l->num_parts; p++)
            pair_rows(t->a + (int64_t)p->first_z / PER_WORD * l->in + first, l->in,
                      l->a + (int64_t)p->first_rank * l->in + first, l->in, p->rank,
                      at_most(l->in - first, UNIT_COLUMNS));
}

static void backward_rows(const lora_task *t, int unit) {
    const trained_lora *l = t->lora;
    int64_t row = (int64_t)unit * UNIT_ROWS;
    int rows = at_most(t->rows - row, UNIT_ROWS), stride = whole_vectors(l->most_rank);
    T *dz = t->dz + row * l->width;
    for (const trained_part *p = l->parts; p < l->parts + l->num_parts; p++)
        project_rows(t->y + row * l->out + p->first_column, l->out,
                t->b + (int64_t)p->first_column / PER_WORD * stride, stride, p->columns,
                dz + p->first_z, l->width, whole_words(p->rank), l->scaling, rows);
    if (t->grad_x)
        update_rows(t->grad_x + row * l->in, t->mask ? t->mask + row * l->in : 0, l->in, l->in, dz,
               l->width, t->a, l->in, l->width, 1, rows);
}

/* dB of some columns. */
static void b_gradient(const lora_task *t, const trained_part *p, int unit) {
    const trained_lora *l = t->lora;
    int first = unit * UNIT_COLUMNS, end = first + at_most(p->columns - first, UNIT_COLUMNS);
    for (int column = first; column < end; column += LANES)
        for (int rank = 0, count; rank < p->rank; rank += count) {
            floats sums[SUMMED_RANKS];
            T narrow[SUMMED_RANKS][LANES];
            count = sum_rows(t->y + p->first_column + column, l->out, t->rows,
                             t->pairs + p->first_z + rank, l->width, whole_words(p->rank) - rank, sums);
            for (int k = 0; k < count; k++) store_narrow(narrow[k], l->scaling * sums[k]);
            count = at_most(p->rank - rank, count);
            for (int i = 0; i < LANES; i++)
                for (int k = 0; k < count; k++)
                    p->b_gradient[(int64_t)(column + i) * p->rank + rank + k] = narrow[k][i];
        }
}

static void lora_backward_unit(const void *task, int unit) {
    const lora_task *t = task;
    int units = units_of(t->rows, UNIT_ROWS), column_unit = unit - units;
    if (unit < units) backward_rows(t, unit);
    else {
        const trained_part *p = find_part(t->lora, &column_unit);
        b_gradient(t, p, column_unit);
    }
}

static void lora_backward_pass(team *team, const void *pass) {
    const lora_task *t = pass;
    const trained_lora *l = t->lora;
    int units = count_part_units(l);
    run_units(team, backward_words_unit, t,
              units + units_of(t->rows, UNIT_COLUMNS) + units_of(l->in, UNIT_COLUMNS));
    run_units(team, lora_backward_unit, t, units_of(t->rows, UNIT_ROWS) + units);
}

/* Compute dB and dz [rows, width] of dy = `grad` [rows, out], and add to `grad_x` [rows, in], if that
   is not NULL, what is multiplied by `mask`, if there is one. `memory` has words of A, B and z. */
void lora_backward(const threads *pool, const trained_lora *l, int64_t rows, const T *grad,
                   const T *z, T *dz, T *grad_x, const T *mask, uint32_t *memory) {
    uint32_t *b = memory + (int64_t)l->width / PER_WORD * l->in;
    uint32_t *pairs = b + (int64_t)l->out / PER_WORD * whole_vectors(l->most_rank);
    lora_task task = {l, 0, mask, (T *)grad, (T *)z, dz, grad_x, memory, b, pairs, rows};
    run_pass(pool, lora_backward_pass, &task);
}

static void pair_gradients_unit(const void *task, int unit) {
    const lora_task *t = task;
    pair_rows_of_z(t, t->dz, unit);
}

static void a_gradient_unit(const void *task, int unit) {
    const lora_task *t = task;
    const trained_lora *l = t->lora;
    int first = unit * UNIT_COLUMNS, end = first + at_most(l->in - first, UNIT_COLUMNS);
    for (int column = first; column < end; column += LANES)
        for (const trained_part *p = l->parts; p < l->parts + l->num_parts; p++)
            for (int rank = 0, count; rank < p->rank; rank += count) {
                floats sums[SUMMED_RANKS];
                count = sum_rows(t->x + column, l->in, t->rows, t->pairs + p->first_z + rank,
                                 l->width, whole_words(p->rank) - rank, sums);
                T *to = l->a_gradient + (int64_t)(p->first_rank + rank) * l->in + column;
                for (int k = 0; k < at_most(p->rank - rank, count); k++)
                    store_narrow(to + (int64_t)k * l->in, sums[k]);
            }
}

static void lora_backward_weights_pass(team *team, const void *pass) {
    const lora_task *t = pass;
    run_units(team, pair_gradients_unit, t, units_of(t->rows, UNIT_COLUMNS));
    run_units(team, a_gradient_unit, t, units_of(t->lora->in, UNIT_COLUMNS));
}

/* Compute dA of x [rows, in]. `memory` has words of dz. */
void lora_backward_weights(const threads *pool, const trained_lora *l, int64_t rows, const T *x,
                           const T *dz, uint32_t *memory) {
    lora_task task = {l, x, 0, 0, 0, (T *)dz, 0, 0, 0, memory, rows};
    run_pass(pool, lora_backward_weights_pass, &task);
}
