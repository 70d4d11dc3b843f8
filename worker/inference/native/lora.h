/* LoRA of rows that share an adapter. */

enum { GROUP = 4, PARTS = 3, COLUMNS = 256 };

/* Matrices of one fused layer: a [rank, in], and b [rank, out], of which only blocks on the
   diagonal, one per linear layer, are not zero. */
typedef struct {
    const T *a, *b;
    int32_t rank, in, out, num_parts;
    struct { int32_t first_rank, end_rank, first_column, end_column; } parts[PARTS];
} lora_pair;

/* Rows of one adapter, which share the reading of its matrices. `pairs` is [layers][LINEARS]. */
typedef struct {
    const lora_pair *pairs;
    int32_t count, rows[GROUP];
} row_group;

/* out += x · A · B for the rows of a group. */
static void add_lora(const row_group *g, int index, const T *x, float *out) {
    if (!g->pairs || !g->pairs[index].a) return;
    const lora_pair *p = &g->pairs[index];
    float rows[GROUP][p->in], z[GROUP][p->rank], a[p->in];
    for (int r = 0; r < g->count; r++)
        widen(rows[r], x + (int64_t)g->rows[r] * padded(p->in), p->in);
    for (int k = 0; k < p->rank; k++) {
        widen(a, p->a + (int64_t)k * p->in, p->in);
        for (int r = 0; r < g->count; r++) z[r][k] = dot(a, rows[r], p->in);
    }
    for (int i = 0; i < p->num_parts; i++)
        for (int c = p->parts[i].first_column; c < p->parts[i].end_column; c += COLUMNS) {
            int n = p->parts[i].end_column - c < COLUMNS ? p->parts[i].end_column - c : COLUMNS;
            float y[GROUP][COLUMNS], b[COLUMNS];
            for (int r = 0; r < g->count; r++)
                for (int j = 0; j < n; j++) y[r][j] = 0;
            for (int k = p->parts[i].first_rank; k < p->parts[i].end_rank; k++) {
                widen(b, p->b + (int64_t)k * p->out + c, n);
                for (int r = 0; r < g->count; r++)
                    for (int j = 0; j < n; j++) y[r][j] += z[r][k] * b[j];
            }
            for (int r = 0; r < g->count; r++)
                for (int j = 0; j < n; j++)
                    out[(int64_t)g->rows[r] * padded(p->out) + c + j] += y[r][j];
        }
}
