/* LoRA of rows that share an adapter. */

/* COLUMNS of outputs are computed at a time by one thread, from RANKS rows of B at a time. */
enum { GROUP = 4, PARTS = 3, COLUMNS = 256, RANKS = 4 };

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

/* z = x · A for the rows of a group; rows of z are `stride` apart. */
static void project_down(const row_group *g, int index, const T *x, float *z, int stride) {
    if (!g->pairs || !g->pairs[index].a) return;
    const lora_pair *p = &g->pairs[index];
    for (int k = 0; k < p->rank; k++)
        for (int r = 0; r < g->count; r++)
            z[(int64_t)g->rows[r] * stride + k] =
                dot_of(p->a + (int64_t)k * p->in, x + (int64_t)g->rows[r] * padded(p->in), p->in);
}

/* out[first to end] += z · B for the rows of a group; at most COLUMNS, of one part. Rows of `out`
   are `out_stride` apart. */
static void add_columns(const row_group *g, const lora_part *p, const float *z, int stride,
                        float *out, int out_stride, int first, int end) {
    float y[GROUP][COLUMNS], b[RANKS][COLUMNS];
    int n = end - first, columns = p->end_column - p->first_column;
    const T *from = p->b + (first - p->first_column);
    for (int r = 0; r < g->count; r++)
        for (int j = 0; j < n; j++) y[r][j] = 0;
    for (int k = p->first_rank, count; k < p->end_rank; k += count, from += count * columns) {
        count = p->end_rank - k < RANKS ? p->end_rank - k : RANKS;
        for (int i = 0; i < count; i++) widen(b[i], from + i * columns, n);
        for (int r = 0; r < g->count; r++) {
            const float *factors = z + (int64_t)g->rows[r] * stride + k;
            if (count == RANKS)
                for (int j = 0; j < n; j++)
                    y[r][j] += factors[0] * b[0][j] + factors[1] * b[1][j] + factors[2] * b[2][j]
                               + factors[3] * b[3][j];
            else
                for (int i = 0; i < count; i++)
                    for (int j = 0; j < n; j++) y[r][j] += factors[i] * b[i][j];
        }
    }
    for (int r = 0; r < g->count; r++)
        for (int j = 0; j < n; j++) out[(int64_t)g->rows[r] * out_stride + first + j] += y[r][j];
}

/* out[first to end] += z · B for the rows of a group. */
static void project_up(const row_group *g, int index, const float *z, int stride, float *out,
                       int first, int end) {
    if (!g->pairs || !g->pairs[index].a) return;
    const lora_pair *p = &g->pairs[index];
    for (const lora_part *part = p->parts; part < p->parts + p->num_parts; part++) {
        int from = first > part->first_column ? first : part->first_column;
        int to = end < part->end_column ? end : part->end_column;
        for (int c = from; c < to; c += COLUMNS)
            add_columns(g, part, z, stride, out, padded(p->out), c,
                        to - c < COLUMNS ? to : c + COLUMNS);
    }
}
