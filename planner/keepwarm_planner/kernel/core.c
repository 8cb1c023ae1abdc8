/* The core model: any arrivals and services, cold-start durations, provisioned pool that changes, spill-over,
 * cap, creation rate, FIFO queue with deadline and bound. Fed chunk by chunk, so memory follows what is alive
 * and never the trace. Twin of core.py, equal bit for bit; see plain.c for how that is kept.
 * plain.c is included by the build, so stream_t and refill() are its own.
 */

#define BINS_PER_OCTAVE 64
#define OCTAVES 48 /* 2^-24 s .. 2^24 s */
#define LOWEST_EXPONENT (-24)
#define BINS (BINS_PER_OCTAVE * OCTAVES)

enum { SERVICE_CONSTANT, SERVICE_EXPONENTIAL, SERVICE_TABLE };
enum {
    S_ARRIVALS, S_COLD, S_WARM, S_PROVISIONED, S_REJECTED_LIMIT, S_REJECTED_RATE, S_QUEUED, S_EXPIRED, S_OVERFLOW,
    S_GOOD, S_BUSY_OD, S_BUSY_PROVISIONED, S_COLD_S, S_LIFE_OD, S_PROVISIONED_S, S_WAIT_S, S_MAX_WAIT, S_MAX_BUSY,
    S_MAX_QUEUE, S_QUEUE_NOW, S_BUSY_NOW, S_STARTED, S_IN_FLIGHT_S, N_STATS
};

typedef struct { double dep; int64_t id; } busy_t;
typedef struct { double arrived, service; } waiting_t;

typedef struct {
    double timeout, target, deadline, rate_limit, rate_window;
    int64_t limit, queue_limit; /* limit < 0: none; queue_limit 0: reject, < 0: unbounded */
    int cold_kind;
    double cold_mean;
    int64_t cold_points;
    double *cold_table;
    stream_t cold;
    int cold_at;
    double uniform[BLOCK];
    /* provisioned */
    int64_t size, busy_p;
    double size_since;
    /* on-demand, in creation order */
    double *dep, *created;
    uint64_t *idle, *sum;
    int64_t n, room;
    /* busy, earliest departure on top */
    busy_t *heap;
    int64_t heap_n, heap_room;
    /* waiting, a ring */
    waiting_t *ring;
    int64_t q_first, q_n, q_room;
    double tokens, tokens_at;
    double stats[N_STATS];
    int64_t latency[BINS], wait[BINS];
    int failed;
} core_t;

static inline int bin_of(double x) {
    int e;
    if (!(x > 0.0)) return 0;
    double m = frexp(x, &e);
    int64_t i = (int64_t)(e - LOWEST_EXPONENT) * BINS_PER_OCTAVE + (int64_t)((m - 0.5) * (2 * BINS_PER_OCTAVE));
    return i < 0 ? 0 : i >= BINS ? BINS - 1 : (int)i;
}

static double table_value(const double *table, int64_t points, double u) {
    double x = u * (double)(points - 1);
    int64_t i = (int64_t)x;
    if (i >= points - 1) return table[points - 1];
    return table[i] + (table[i + 1] - table[i]) * (x - (double)i);
}

static void refill_uniform(stream_t *s, double *out) {
    uint32_t *mt = s->mt;
    int k;
    for (k = 0; k < MT_N - MT_M; k++) mt[k] = mt[k + MT_M] ^ twist(mt[k], mt[k + 1]);
    for (; k < MT_N - 1; k++) mt[k] = mt[k - (MT_N - MT_M)] ^ twist(mt[k], mt[k + 1]);
    mt[MT_N - 1] = mt[MT_M - 1] ^ twist(mt[MT_N - 1], mt[0]);
    for (k = 0; k < BLOCK; k++) {
        int32_t a = (int32_t)(temper(mt[2 * k]) >> 5), b = (int32_t)(temper(mt[2 * k + 1]) >> 6);
        out[k] = ((double)a * 67108864.0 + (double)b) * (1.0 / 9007199254740992.0);
    }
}

static double draw_cold(core_t *c) {
    if (c->cold_kind == SERVICE_CONSTANT) return c->cold_mean;
    if (c->cold_at == BLOCK) {
        refill_uniform(&c->cold, c->uniform);
        c->cold_at = 0;
    }
    double u = c->uniform[c->cold_at++];
    if (c->cold_kind == SERVICE_EXPONENTIAL) return log(1.0 - u) * -c->cold_mean;
    return table_value(c->cold_table, c->cold_points, u);
}

static inline int earlier(const busy_t *a, const busy_t *b) {
    return a->dep < b->dep || (a->dep == b->dep && a->id < b->id);
}

static int push_busy(core_t *c, double dep, int64_t id) {
    if (c->heap_n == c->heap_room) {
        int64_t room = c->heap_room * 2 + 256;
        busy_t *heap = realloc(c->heap, sizeof(busy_t) * (size_t)room);
        if (!heap) return -1;
        c->heap = heap;
        c->heap_room = room;
    }
    busy_t x = {dep, id};
    int64_t i = c->heap_n++;
    while (i > 0) {
        int64_t up = (i - 1) >> 1;
        if (!earlier(&x, &c->heap[up])) break;
        c->heap[i] = c->heap[up];
        i = up;
    }
    c->heap[i] = x;
    return 0;
}

/* heapq.heappop move for move, so that sums over the heap run in the twin's order */
static busy_t pop_busy(core_t *c) {
    busy_t last = c->heap[--c->heap_n];
    const int64_t end = c->heap_n;
    if (!end) return last;
    busy_t top = c->heap[0];
    int64_t i = 0, k = 1;
    while (k < end) {
        if (k + 1 < end && !earlier(&c->heap[k], &c->heap[k + 1])) k++;
        c->heap[i] = c->heap[k];
        i = k;
        k = 2 * i + 1;
    }
    while (i > 0) {
        int64_t up = (i - 1) >> 1;
        if (!earlier(&last, &c->heap[up])) break;
        c->heap[i] = c->heap[up];
        i = up;
    }
    c->heap[i] = last;
    return top;
}

/* Makes room for one more on-demand environment: drops the gone, renumbers the living in order. */
static int make_room(core_t *c) {
    int64_t *place = malloc(sizeof(int64_t) * (size_t)(c->n + 1));
    if (!place) return -1;
    int64_t k = 0;
    for (int64_t i = 0; i < c->n; i++) {
        place[i] = k;
        if (c->created[i] >= 0.0) {
            c->dep[k] = c->dep[i];
            c->created[k] = c->created[i];
            k++;
        }
    }
    int64_t room = c->room;
    if (2 * k + 256 > room) {
        room = 3 * k + 512;
        double *dep = realloc(c->dep, sizeof(double) * (size_t)room);
        if (dep) c->dep = dep;
        double *created = realloc(c->created, sizeof(double) * (size_t)room);
        if (created) c->created = created;
        if (!dep || !created) { free(place); return -1; }
    }
    uint64_t *idle = calloc((size_t)(room >> 6) + 1, 8), *sum = calloc((size_t)(room >> 12) + 1, 8);
    if (!idle || !sum) { free(idle); free(sum); free(place); return -1; }
    for (int64_t i = 0; i < c->n; i++)
        if (c->idle[i >> 6] >> (i & 63) & 1) set_bit(idle, sum, place[i]);
    for (int64_t i = 0; i < c->heap_n; i++)
        if (c->heap[i].id >= 0) c->heap[i].id = place[c->heap[i].id];
    free(c->idle); free(c->sum); free(place);
    c->idle = idle;
    c->sum = sum;
    c->n = k;
    c->room = room;
    return 0;
}

static inline int take_token(core_t *c, double t) {
    if (c->rate_limit <= 0.0) return 1;
    double tokens = c->tokens + (t - c->tokens_at) * c->rate_limit / c->rate_window;
    if (tokens > c->rate_limit) tokens = c->rate_limit;
    c->tokens = tokens;
    c->tokens_at = t;
    if (tokens < 1.0) return 0;
    c->tokens = tokens - 1.0;
    return 1;
}

static inline int64_t on_demand_limit(const core_t *c) {
    int64_t held = c->size > c->busy_p ? c->size : c->busy_p;
    return c->limit > held ? c->limit - held : 0;
}

static void finish_start(core_t *c, double t, double arrived, double service, double cold) {
    double wait = t - arrived, latency = wait + cold + service;
    c->latency[bin_of(latency)]++;
    if (wait > 0.0) {
        c->wait[bin_of(wait)]++;
        c->stats[S_WAIT_S] += wait;
        if (wait > c->stats[S_MAX_WAIT]) c->stats[S_MAX_WAIT] = wait;
    }
    if (latency <= c->target) c->stats[S_GOOD] += 1.0;
    c->stats[S_STARTED] += 1.0;
    if ((double)c->heap_n > c->stats[S_MAX_BUSY]) c->stats[S_MAX_BUSY] = (double)c->heap_n;
}

/* Places one request: 1 started, 0 the limit forbids, -1 the creation rate forbids. */
static int start(core_t *c, double t, double arrived, double service) {
    if (c->busy_p < c->size) {
        c->busy_p++;
        c->failed |= push_busy(c, t + service, -1);
        c->stats[S_PROVISIONED] += 1.0;
        c->stats[S_BUSY_PROVISIONED] += service;
        finish_start(c, t, arrived, service, 0.0);
        return 1;
    }
    int64_t i;
    if (c->limit >= 0 && c->heap_n - c->busy_p >= on_demand_limit(c)) return 0;
    while ((i = c->n ? highest(c->idle, c->sum, c->n) : -1) >= 0) {
        double until = c->dep[i] + c->timeout;
        clear_bit(c->idle, c->sum, i);
        if (until > t) break;
        c->stats[S_LIFE_OD] += until - c->created[i];
        c->created[i] = -1.0;
            }
    if (i >= 0) {
        c->dep[i] = t + service;
        c->failed |= push_busy(c, t + service, i);
        c->stats[S_WARM] += 1.0;
        c->stats[S_BUSY_OD] += service;
        finish_start(c, t, arrived, service, 0.0);
        return 1;
    }
    if (!take_token(c, t)) return -1;
    if (c->n == c->room && make_room(c)) { c->failed = -1; return 0; }
    double cold = draw_cold(c);
    i = c->n++;
    c->dep[i] = t + (cold + service);
    c->created[i] = t;
    c->failed |= push_busy(c, t + (cold + service), i);
    c->stats[S_COLD] += 1.0;
    c->stats[S_COLD_S] += cold;
    c->stats[S_BUSY_OD] += service;
    finish_start(c, t, arrived, service, cold);
    return 1;
}

static void dispatch(core_t *c, double t) {
    while (c->q_n) {
        waiting_t w = c->ring[c->q_first];
        if (t - w.arrived > c->deadline) {
            c->stats[S_EXPIRED] += 1.0;
        } else if (start(c, t, w.arrived, w.service) != 1) {
            return;
        }
        c->q_first = (c->q_first + 1) % c->q_room;
        c->q_n--;
    }
}

static void run_to(core_t *c, double t) {
    while (c->heap_n && c->heap[0].dep <= t) {
        busy_t b = pop_busy(c);
        if (b.id < 0) c->busy_p--;
        else set_bit(c->idle, c->sum, b.id);
        if (c->q_n) dispatch(c, b.dep);
    }
}

core_t *keepwarm_core_new(double timeout, int64_t limit, int64_t queue_limit, double deadline, double target,
                          double rate_limit, double rate_window, int64_t provisioned, int cold_kind, double cold_mean,
                          const double *table, int64_t points, const uint32_t *words) {
    core_t *c = calloc(1, sizeof(core_t));
    if (!c) return 0;
    c->timeout = timeout;
    c->limit = limit;
    c->queue_limit = queue_limit;
    c->deadline = deadline;
    c->target = target;
    c->rate_limit = rate_limit;
    c->rate_window = rate_window;
    c->tokens = rate_limit;
    c->size = provisioned;
    c->cold_kind = cold_kind;
    c->cold_mean = cold_mean;
    c->cold_at = BLOCK;
    c->room = 256;
    c->dep = malloc(sizeof(double) * 256);
    c->created = malloc(sizeof(double) * 256);
    c->idle = calloc(5, 8);
    c->sum = calloc(1, 8);
    c->cold_points = points;
    if (points) c->cold_table = malloc(sizeof(double) * (size_t)points);
    memcpy(c->cold.mt, words, sizeof c->cold.mt);
    if (!c->dep || !c->created || !c->idle || !c->sum || (points && !c->cold_table)) c->failed = -1;
    else if (points) memcpy(c->cold_table, table, sizeof(double) * (size_t)points);
    return c;
}

void keepwarm_core_free(core_t *c) {
    if (!c) return;
    free(c->dep); free(c->created); free(c->idle); free(c->sum); free(c->heap); free(c->ring); free(c->cold_table);
    free(c);
}

int keepwarm_core_feed(core_t *c, const double *times, const double *services, int64_t n) {
    for (int64_t k = 0; k < n && !c->failed; k++) {
        const double t = times[k], service = services[k];
        run_to(c, t);
        c->stats[S_ARRIVALS] += 1.0;
        int placed = c->q_n ? 0 : start(c, t, t, service);
        if (placed == 1) continue;
        if (c->queue_limit == 0) {
            c->stats[placed == 0 ? S_REJECTED_LIMIT : S_REJECTED_RATE] += 1.0;
            continue;
        }
        if (c->queue_limit > 0 && c->q_n >= c->queue_limit) {
            /* those past their deadline leave the queue before the bound refuses a newcomer */
            while (c->q_n && t - c->ring[c->q_first].arrived > c->deadline) {
                c->stats[S_EXPIRED] += 1.0;
                c->q_first = (c->q_first + 1) % c->q_room;
                c->q_n--;
            }
            if (c->q_n >= c->queue_limit) {
                c->stats[S_OVERFLOW] += 1.0;
                continue;
            }
        }
        if (c->q_n == c->q_room) {
            int64_t room = c->q_room * 2 + 256;
            waiting_t *ring = malloc(sizeof(waiting_t) * (size_t)room);
            if (!ring) return c->failed = -1;
            for (int64_t i = 0; i < c->q_n; i++) ring[i] = c->ring[(c->q_first + i) % c->q_room];
            free(c->ring);
            c->ring = ring;
            c->q_first = 0;
            c->q_room = room;
        }
        c->ring[(c->q_first + c->q_n++) % c->q_room] = (waiting_t){t, service};
        c->stats[S_QUEUED] += 1.0;
        if ((double)c->q_n > c->stats[S_MAX_QUEUE]) c->stats[S_MAX_QUEUE] = (double)c->q_n;
    }
    return c->failed;
}

int keepwarm_core_resize(core_t *c, double t, int64_t size) {
    run_to(c, t);
    c->stats[S_PROVISIONED_S] += (double)c->size * (t - c->size_since);
    c->size_since = t;
    c->size = size;
    dispatch(c, t);
    return c->failed;
}

int keepwarm_core_read(core_t *c, double t, double *stats, int64_t *latency, int64_t *wait) {
    run_to(c, t);
    memcpy(stats, c->stats, sizeof c->stats);
    stats[S_PROVISIONED_S] += (double)c->size * (t - c->size_since);
    for (int64_t i = 0; i < c->n; i++) {
        if (c->created[i] < 0.0) continue;
        double until = c->dep[i] + c->timeout;
        stats[S_LIFE_OD] += (until < t ? until : t) - c->created[i];
    }
    double over = 0.0;
    for (int64_t i = 0; i < c->heap_n; i++) over += c->heap[i].dep - t;
    stats[S_IN_FLIGHT_S] = stats[S_BUSY_OD] + stats[S_BUSY_PROVISIONED] + stats[S_COLD_S] - over;
    stats[S_QUEUE_NOW] = (double)c->q_n;
    stats[S_BUSY_NOW] = (double)c->heap_n;
    if (latency) memcpy(latency, c->latency, sizeof c->latency);
    if (wait) memcpy(wait, c->wait, sizeof c->wait);
    return c->failed;
}

/* ---- streams that belong to no core: arrivals and services are drawn once and shared by every design ---- */

typedef struct { stream_t s; double u[BLOCK]; int at; } source_t;

source_t *keepwarm_source_new(const uint32_t *words) {
    source_t *s = malloc(sizeof(source_t));
    if (!s) return 0;
    memcpy(s->s.mt, words, sizeof s->s.mt);
    s->at = BLOCK;
    return s;
}

void keepwarm_source_free(source_t *s) { free(s); }

static inline double uniform(source_t *s) {
    if (s->at == BLOCK) {
        refill_uniform(&s->s, s->u);
        s->at = 0;
    }
    return s->u[s->at++];
}

/* n values of a constant, an exponential or a quantile table. */
void keepwarm_fill(source_t *s, int kind, double mean, const double *table, int64_t points, int64_t n, double *out) {
    int64_t k;
    if (kind == SERVICE_CONSTANT)
        for (k = 0; k < n; k++) out[k] = mean;
    else if (kind == SERVICE_EXPONENTIAL)
        for (k = 0; k < n; k++) out[k] = log(1.0 - uniform(s)) * -mean;
    else
        for (k = 0; k < n; k++) out[k] = table_value(table, points, uniform(s));
}

/* Poisson arrivals of a constant rate from t on, at most `room` and before `end`; returns how many. *t becomes
 * the first arrival not delivered. */
int64_t keepwarm_poisson(source_t *s, double rate, double end, double *t, double *out, int64_t room) {
    const double neg_gap = -1.0 / rate;
    double now = *t;
    int64_t n = 0;
    while (n < room && now < end) {
        out[n++] = now;
        now = now + log(1.0 - uniform(s)) * neg_gap;
    }
    *t = now;
    return n;
}

/* n uniform points of [from, to) in rising order: spacings of a Poisson process, scaled. */
void keepwarm_spread(source_t *s, double from, double to, int64_t n, double *out) {
    double sum = 0.0;
    for (int64_t k = 0; k < n; k++) {
        sum = sum - log(1.0 - uniform(s));
        out[k] = sum;
    }
    sum = sum - log(1.0 - uniform(s));
    const double scale = (to - from) / sum;
    for (int64_t k = 0; k < n; k++) out[k] = from + out[k] * scale;
}
