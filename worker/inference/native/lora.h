/* LoRA of rows that share an adapter. */

/* Sums of a group's rows, times so many rows of A or vectors of B's columns, fit into the registers:
   what is read is used for all of them. */
enum { GROUP = 4, RANKS = 4, UP_VECTORS = 4 };
#define GROUP_CASES(F) F(1) F(2) F(3) F(4)

enum { PARTS = 3 };

/* One linear layer of those that are computed as one: b [ranks, columns]. */
typedef struct {
    const T *b;
    int32_t first_rank, end_rank, first_column, end_column;
} lora_part;

/* Matrices of one fused layer: a [rank, in], and B [rank, out], a block diagonal of its parts. */
typedef struct {
    const T *a;
    int32_t rank, in, out, num_parts;
    lora_part parts[PARTS];
} lora_pair;

/* Rows of one adapter, which share the reading of its matrices. `pairs` is [layers][LINEARS]. */
typedef struct {
    const lora_pair *pairs;
    int32_t count, rows[GROUP];
} row_group;

INLINE float sum_lanes(floats sum) {
    float lanes[LANES];
    memcpy(lanes, &sum, sizeof lanes);
    UNROLL for (int width = LANES / 2; width; width /= 2)
        UNROLL for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    return lanes[0];
}

/* z = x · A for `rows` rows and `ranks` rows of A, constants where this is inlined. */
INLINE void down_tile(const row_group *g, const T *a, int n, const T *x, float *z, int stride,
                      const int rows, const int ranks) {
    floats sums[GROUP][RANKS];
    const T *from[GROUP];
    int i = 0;
    UNROLL for (int r = 0; r < rows; r++) {
        from[r] = x + (int64_t)g->rows[r] * padded(n);
        UNROLL for (int k = 0; k < ranks; k++) sums[r][k] = (floats){0};
    }
    for (; i + LANES * PER_WORD <= n; i += LANES * PER_WORD) {
        words w[RANKS];
        UNROLL for (int k = 0; k < ranks; k++) memcpy(&w[k], a + (int64_t)k * n + i, sizeof w[k]);
        UNROLL for (int r = 0; r < rows; r++) {
            words inputs;
            memcpy(&inputs, from[r] + i, sizeof inputs);
            UNROLL for (int k = 0; k < ranks; k++)
                sums[r][k] = multiply_add(sums[r][k], w[k], inputs);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int k = 0; k < ranks; k++) {
            float sum = sum_lanes(sums[r][k]);
            for (int j = i; j < n; j++) sum += get(a[(int64_t)k * n + j]) * get(from[r][j]);
            z[(int64_t)g->rows[r] * stride + k] = sum;
        }
}

/* z = x · A for the rows of a group; rows of z are `stride` apart. */
static void project_down(const row_group *g, int index, const T *x, float *z, int stride) {
    if (!g->pairs || !g->pairs[index].a) return;
    const lora_pair *p = &g->pairs[index];
    const T *a = p->a;
    int k = 0;
#define DOWN_CASE(R) case R: down_tile(g, a, p->in, x, z + k, stride, R, RANKS); break;
    for (; k + RANKS <= p->rank; k += RANKS, a += (int64_t)RANKS * p->in)
        switch (g->count) { GROUP_CASES(DOWN_CASE) }
#define DOWN_REST(R) case R: down_tile(g, a, p->in, x, z + k, stride, R, 1); break;
    for (; k < p->rank; k++, a += p->in)
        switch (g->count) { GROUP_CASES(DOWN_REST) }
}

INLINE floats load_wide(const T *from) {
#ifdef LUTHIER_BF16
    typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
    halves narrow;
    memcpy(&narrow, from, sizeof narrow);
    return (floats)(__builtin_convertvector(narrow, words) << 16);
#else
    floats wide;
    memcpy(&wide, from, sizeof wide);
    return wide;
#endif
}

/* out += z · B for `rows` rows and `vectors` vectors of columns from `first` on; both are constants
   where this is inlined. */
INLINE void up_tile(const row_group *g, const lora_part *p, const float *z, int stride, float *out,
                    int out_stride, int first, const int rows, const int vectors) {
    const T *b = p->b + (first - p->first_column);
    int columns = p->end_column - p->first_column;
    floats sums[GROUP][UP_VECTORS];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = (floats){0};
    for (int k = p->first_rank; k < p->end_rank; k++, b += columns) {
        floats w[UP_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++) w[v] = load_wide(b + v * LANES);
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < vectors; v++)
                sums[r][v] += z[(int64_t)g->rows[r] * stride + k] * w[v];
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) {
            float *to = out + (int64_t)g->rows[r] * out_stride + first + v * LANES;
            floats sum;
            memcpy(&sum, to, sizeof sum);
            sum += sums[r][v];
            memcpy(to, &sum, sizeof sum);
        }
}

/* out[first to end] += z · B for the rows of a group, and columns of one part. Rows of `out` are
   `out_stride` apart. */
static void add_columns(const row_group *g, const lora_part *p, const float *z, int stride,
                        float *out, int out_stride, int first, int end) {
#define UP_CASE(R) case R: up_tile(g, p, z, stride, out, out_stride, first, R, UP_VECTORS); break;
    for (; first + LANES * UP_VECTORS <= end; first += LANES * UP_VECTORS)
        switch (g->count) { GROUP_CASES(UP_CASE) }
#define UP_REST(R) case R: up_tile(g, p, z, stride, out, out_stride, first, R, 1); break;
    for (; first + LANES <= end; first += LANES)
        switch (g->count) { GROUP_CASES(UP_REST) }
    for (; first < end; first++)
        for (int r = 0; r < g->count; r++) {
            const float *factors = z + (int64_t)g->rows[r] * stride;
            const T *b = p->b + (first - p->first_column);
            float sum = 0;
            for (int k = p->first_rank; k < p->end_rank; k++, b += p->end_column - p->first_column)
                sum += factors[k] * get(*b);
            out[(int64_t)g->rows[r] * out_stride + first] += sum;
        }
}

/* out[first to end] += z · B for the rows of a group. */
static void project_up(const row_group *g, int index, const float *z, int stride, float *out,
                       int first, int end) {
    if (!g->pairs || !g->pairs[index].a) return;
    const lora_pair *p = &g->pairs[index];
    for (const lora_part *part = p->parts; part < p->parts + p->num_parts; part++) {
        int from = first > part->first_column ? first : part->first_column;
        int to = end < part->end_column ? end : part->end_column;
        add_columns(g, part, z, stride, out, padded(p->out), from, to);
    }
}
