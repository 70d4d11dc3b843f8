/* Threads that go through the phases of a pass together, with a barrier after each. */

#include <sched.h>

/* `GOMP_parallel` and `omp_get_num_threads` of torch's own OpenMP, or NULL: threads of another pool
   would wait for torch's by spinning on the same cores. */
typedef struct {
    void (*parallel)(void (*)(void *), void *, unsigned threads, unsigned flags);
    int (*num_threads)(void);
    int64_t count;
} threads;

/* Work of a phase is taken by units. A phase has a number, so that the last thread to end it can
   release those that wait. Each thread stores the same `num_threads` as it joins. */
typedef struct {
    int num_threads, next, arrived, phase;
} team;

typedef void (*unit_function)(const void *task, int unit);
typedef void (*pass_function)(team *t, const void *pass);

/* Pauses before a waiting thread yields its core: about as long as a phase. */
enum { SPINS = 4000 };

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void wait_for_team(team *t, int num_threads) {
    int phase = __atomic_load_n(&t->phase, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&t->arrived, 1, __ATOMIC_ACQ_REL) == num_threads) {
        t->next = t->arrived = 0;
        __atomic_store_n(&t->phase, phase + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int spins = 0; __atomic_load_n(&t->phase, __ATOMIC_ACQUIRE) == phase; spins++)
        if (spins < SPINS) pause_briefly();
        else sched_yield();
}

/* All threads of a team call this alike; it returns when all units are done. */
static void run_units(team *t, unit_function run, const void *task, int count) {
    int num_threads = __atomic_load_n(&t->num_threads, __ATOMIC_RELAXED);
    if (num_threads == 1) {
        for (int unit = 0; unit < count; unit++) run(task, unit);
        return;
    }
    for (int unit; (unit = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED)) < count;)
        run(task, unit);
    wait_for_team(t, num_threads);
}

typedef struct {
    const threads *threads;
    pass_function run;
    const void *pass;
    team team;
} team_start;

static void join_team(void *argument) {
    team_start *start = argument;
    /* OpenMP may have given fewer threads than were asked for. */
    int num_threads = start->threads->num_threads();
    __atomic_store_n(&start->team.num_threads, num_threads, __ATOMIC_RELAXED);
    start->run(&start->team, start->pass);
}

/* Have threads run a pass, each all of its phases. */
static void run_pass(const threads *pool, pass_function run, const void *pass) {
    team_start start = {pool, run, pass, {1, 0, 0, 0}};
    if (pool->parallel && pool->count > 1) pool->parallel(join_team, &start, pool->count, 0);
    else run(&start.team, pass);
}
