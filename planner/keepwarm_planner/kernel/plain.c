/* The plain model: scale per request, newest idle environment first, fixed idle expiry, exact cap.
 *
 * Twin of plain.py: same Mersenne Twister words, same libm log, same order of every floating-point
 * operation, so the two return equal bits (compile with -ffp-contract=off; a fused multiply-add would
 * break that). Only arrivals are processed: expiry is implicit in departure + timeout <= now.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define MT_N 624
#define MT_M 397
#define BLOCK 312 /* doubles that one twist of the generator yields */
#define SCAN_LIMIT 48 /* on-demand environments up to which a linear scan beats what is below */
#define GROUP 8 /* environments whose earliest departure is kept: one comparison tells whether any of them is idle */
#define RUN 16 /* groups that are looked at together */
#define GROUPS_LIMIT 1024 /* environments up to which the groups beat the bitmap and the wheel */

typedef struct {
    uint32_t mt[MT_N];
    double block[BLOCK]; /* log(1 - u), the exponential variate before its scale */
} stream_t;

static inline uint32_t twist(uint32_t upper, uint32_t lower) {
    uint32_t y = (upper & 0x80000000u) | (lower & 0x7fffffffu);
    return (y >> 1) ^ ((0u - (lower & 1u)) & 0x9908b0dfu);
}

static inline uint32_t temper(uint32_t y) {
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

static void refill(stream_t *s) {
    uint32_t *mt = s->mt;
    double u[BLOCK];
    int k;
    for (k = 0; k < MT_N - MT_M; k++) mt[k] = mt[k + MT_M] ^ twist(mt[k], mt[k + 1]);
    for (; k < MT_N - 1; k++) mt[k] = mt[k - (MT_N - MT_M)] ^ twist(mt[k], mt[k + 1]);
    mt[MT_N - 1] = mt[MT_M - 1] ^ twist(mt[MT_N - 1], mt[0]);
    for (k = 0; k < BLOCK; k++) {
        int32_t a = (int32_t)(temper(mt[2 * k]) >> 5), b = (int32_t)(temper(mt[2 * k + 1]) >> 6);
        u[k] = 1.0 - ((double)a * 67108864.0 + (double)b) * (1.0 / 9007199254740992.0);
    }
    for (k = 0; k < BLOCK; k++) s->block[k] = log(u[k]);
}

typedef struct {
    /* scenario */
    double neg_gap, neg_service, timeout;
    int64_t provisioned, limit; /* limit: on-demand environments alive at once */
    /* streams and the pending arrival */
    stream_t *gaps, *services;
    double t;
    int at;
    /* environments: provisioned first, then on-demand in creation order */
    double *dep, *created;
    int64_t n, room;
    /* totals */
    int64_t arrivals, cold, rejected, warm_provisioned;
    double busy, life;
    /* windows */
    const double *ends;
    double *rows;
    int64_t n_ends, next_end;
    /* wheel: departures in buckets of time, idle environments as bits */
    int32_t *head, *next;
    int64_t mask, cursor;
    double per_s;
    uint64_t *idle, *sum, *idle_p, *sum_p;
} plain_t;

#define ROW 6

static void close_window(plain_t *p, double tc) {
    double busy = p->busy, life = p->life;
    int64_t i;
    for (i = 0; i < p->provisioned; i++)
        if (p->dep[i] > tc) busy -= p->dep[i] - tc;
    for (i = p->provisioned; i < p->provisioned + p->n; i++) {
        double until = p->dep[i] + p->timeout;
        if (p->dep[i] > tc) busy -= p->dep[i] - tc;
        life += (until < tc ? until : tc) - p->created[i];
    }
    double *row = p->rows + ROW * p->next_end++;
    row[0] = (double)p->arrivals;
    row[1] = (double)p->cold;
    row[2] = (double)p->rejected;
    row[3] = busy;
    row[4] = life;
    row[5] = (double)p->warm_provisioned;
}

static inline void advance(plain_t *p) {
    if (++p->at == BLOCK) {
        refill(p->gaps);
        refill(p->services);
        p->at = 0;
    }
    p->t = p->t + p->gaps->block[p->at] * p->neg_gap;
}

static int grow(plain_t *p, int64_t room) {
    double *dep = realloc(p->dep, sizeof(double) * (size_t)room);
    if (dep) p->dep = dep;
    double *created = realloc(p->created, sizeof(double) * (size_t)room);
    if (created) p->created = created;
    if (!dep || !created) return -1;
    p->room = room;
    return 0;
}

/* Few environments: one pass from the newest to the oldest. Returns 1 when they have become many. */
static int scan(plain_t *p) {
    const int64_t np = p->provisioned;
    const double timeout = p->timeout, neg_service = p->neg_service, neg_gap = p->neg_gap;
    double *dep = p->dep, *created = p->created;
    double t = p->t, busy = p->busy, life = p->life;
    int64_t n = p->n, arrivals = p->arrivals;
    int at = p->at;
    while (p->next_end < p->n_ends) {
        const double end = p->ends[p->next_end];
        while (t < end) {
            const double s = p->services->block[at] * neg_service;
            int64_t i;
            arrivals++;
            for (i = 0; i < np; i++)
                if (dep[i] <= t) {
                    dep[i] = t + s;
                    p->warm_provisioned++;
                    busy += s;
                    goto next;
                }
            for (i = np + n - 1; i >= np; i--) {
                const double d = dep[i];
                if (d <= t) {
                    const double until = d + timeout;
                    if (until > t) {
                        dep[i] = t + s;
                        busy += s;
                        goto next;
                    }
                    life += until - created[i];
                    n--;
                    for (int64_t j = i; j < np + n; j++) {
                        dep[j] = dep[j + 1];
                        created[j] = created[j + 1];
                    }
                }
            }
            if (n >= p->limit) {
                p->rejected++;
            } else {
                dep[np + n] = t + s;
                created[np + n] = t;
                n++;
                p->cold++;
                busy += s;
            }
        next:
            if (++at == BLOCK) {
                refill(p->gaps);
                refill(p->services);
                at = 0;
            }
            t = t + p->gaps->block[at] * neg_gap;
            if (np + n >= SCAN_LIMIT) goto many;
        }
        p->t = t; p->at = at; p->n = n; p->arrivals = arrivals; p->busy = busy; p->life = life;
        close_window(p, end);
    }
    return 0;
many:
    p->t = t; p->at = at; p->n = n; p->arrivals = arrivals; p->busy = busy; p->life = life;
    return 1;
}

#ifdef __SSE2__ /* every x86-64 has it; elsewhere the wheel below is the faster of the two */
/* Bit i: x[i] <= t. */
static inline uint32_t not_after(const double *x, int n, double t) {
    const __m128d at = _mm_set1_pd(t);
    uint32_t mask = 0;
    for (int i = 0; i < n; i += 2) mask |= (uint32_t)_mm_movemask_pd(_mm_cmple_pd(_mm_loadu_pd(x + i), at)) << i;
    return mask;
}

/* x[i] = value, written as the whole pair that is loaded above and below: a load of a pair of which one half was just
 * stored alone would wait until that half is in the cache. */
static inline void put(double *x, int64_t i, double value) {
    static const uint64_t half[2][2] = {{~0ull, 0}, {0, ~0ull}};
    const __m128d mask = _mm_castsi128_pd(_mm_loadu_si128((const __m128i *)half[i & 1]));
    double *pair = x + (i & ~1ll);
    const __m128d other = _mm_andnot_pd(mask, _mm_loadu_pd(pair));
    _mm_storeu_pd(pair, _mm_or_pd(other, _mm_and_pd(mask, _mm_set1_pd(value))));
}

static inline double earliest(const double *x) {
    __m128d a = _mm_loadu_pd(x), b = _mm_loadu_pd(x + 2);
    for (int i = 4; i < GROUP; i += 4) {
        a = _mm_min_pd(a, _mm_loadu_pd(x + i));
        b = _mm_min_pd(b, _mm_loadu_pd(x + i + 2));
    }
    a = _mm_min_pd(a, b);
    return _mm_cvtsd_f64(_mm_min_sd(a, _mm_unpackhi_pd(a, a)));
}

/* Drops environments that are gone (created < 0), in order. */
static void compact(plain_t *p) {
    int64_t k = 0;
    for (int64_t i = 0; i < p->n; i++)
        if (p->created[i] >= 0.0) {
            p->dep[k] = p->dep[i];
            p->created[k++] = p->created[i];
        }
    for (int64_t i = k; i < p->n; i++) p->dep[i] = INFINITY;
    p->n = k;
}

static void lay(double *first, const double *dep) {
    for (int64_t g = 0; g < GROUPS_LIMIT / GROUP; g++) first[g] = earliest(dep + g * GROUP);
}

/* Some hundred environments and no pool: departures in groups, each with its earliest; an environment that is gone has
 * none. No event but arrivals is looked at. Returns 1 when they have become many. */
static int groups(plain_t *p) {
    const double timeout = p->timeout, neg_service = p->neg_service, neg_gap = p->neg_gap;
    double first[GROUPS_LIMIT / GROUP]; /* earliest departure of each group */
    int64_t alive = p->n;
    if (p->room < GROUPS_LIMIT && grow(p, GROUPS_LIMIT)) return -1;
    double *dep = p->dep, *created = p->created;
    for (int64_t i = p->n; i < GROUPS_LIMIT; i++) dep[i] = INFINITY;
    lay(first, dep);
    double t = p->t, busy = p->busy, life = p->life;
    int at = p->at;
    while (p->next_end < p->n_ends) {
        const double end = p->ends[p->next_end];
        while (t < end) {
            const double s = p->services->block[at] * neg_service;
            p->arrivals++;
            for (int64_t run = (p->n - 1) / (RUN * GROUP); run >= 0;) {
                const uint32_t some = not_after(first + run * RUN, RUN, t);
                if (!some) {
                    run--;
                    continue;
                }
                const int64_t g = run * RUN + 31 - __builtin_clz(some);
                double *group = dep + g * GROUP;
                const int64_t i = 31 - __builtin_clz(not_after(group, GROUP, t));
                const double until = group[i] + timeout;
                if (until > t) {
                    put(group, i, t + s);
                    put(first, g, earliest(group));
                    busy += s;
                    goto next;
                }
                life += until - created[g * GROUP + i];
                created[g * GROUP + i] = -1.0;
                put(group, i, INFINITY);
                put(first, g, earliest(group));
                alive--;
            }
            if (alive >= p->limit) {
                p->rejected++;
            } else {
                if (p->n == GROUPS_LIMIT) {
                    compact(p);
                    if (p->n > GROUPS_LIMIT / 2) goto many;
                    lay(first, dep);
                }
                dep[p->n] = t + s;
                created[p->n] = t;
                const int64_t g = p->n++ / GROUP;
                if (t + s < first[g]) first[g] = t + s;
                alive++;
                p->cold++;
                busy += s;
            }
        next:
            if (++at == BLOCK) {
                refill(p->gaps);
                refill(p->services);
                at = 0;
            }
            t = t + p->gaps->block[at] * neg_gap;
        }
        if (alive < p->n) {
            compact(p);
            lay(first, dep);
        }
        p->t = t; p->at = at; p->busy = busy; p->life = life;
        close_window(p, end);
    }
    return 0;
many:
    /* this arrival is still to be placed */
    p->arrivals--;
    p->t = t; p->at = at; p->busy = busy; p->life = life;
    return 1;
}
#endif

static inline void set_bit(uint64_t *bits, uint64_t *sum, int64_t i) {
    bits[i >> 6] |= 1ull << (i & 63);
    sum[i >> 12] |= 1ull << ((i >> 6) & 63);
}

static inline void clear_bit(uint64_t *bits, uint64_t *sum, int64_t i) {
    if (!(bits[i >> 6] &= ~(1ull << (i & 63)))) sum[i >> 12] &= ~(1ull << ((i >> 6) & 63));
}

static inline int64_t highest(const uint64_t *bits, const uint64_t *sum, int64_t n) {
    for (int64_t w = (n - 1) >> 12; w >= 0; w--)
        if (sum[w]) {
            int64_t word = (w << 6) + 63 - __builtin_clzll(sum[w]);
            return (word << 6) + 63 - __builtin_clzll(bits[word]);
        }
    return -1;
}

static inline int64_t lowest(const uint64_t *bits, const uint64_t *sum, int64_t n) {
    for (int64_t w = 0; w <= (n - 1) >> 12; w++)
        if (sum[w]) {
            int64_t word = (w << 6) + __builtin_ctzll(sum[w]);
            return (word << 6) + __builtin_ctzll(bits[word]);
        }
    return -1;
}

static inline void insert(plain_t *p, int64_t id, double d) {
    int64_t b = (int64_t)(d * p->per_s) & p->mask;
    p->dep[id] = d;
    p->next[id] = p->head[b];
    p->head[b] = (int32_t)id;
}

static inline void drain(plain_t *p, double t) {
    const int64_t np = p->provisioned, last = (int64_t)(t * p->per_s);
    int64_t b = p->cursor;
    if (last - b > p->mask) b = last - p->mask;
    for (; b <= last; b++) {
        int32_t *link = &p->head[b & p->mask];
        int32_t id = *link;
        while (id >= 0) {
            const int32_t after = p->next[id];
            if (p->dep[id] <= t) {
                *link = after;
                if (id < np) set_bit(p->idle_p, p->sum_p, id);
                else set_bit(p->idle, p->sum, id - np);
            } else {
                link = &p->next[id];
            }
            id = after;
        }
    }
    p->cursor = last;
}

/* Drops environments that are gone (created < 0) and lays wheel and bits anew for what is left. */
static int rebuild(plain_t *p) {
    const int64_t np = p->provisioned;
    int64_t k = np;
    for (int64_t i = np; i < np + p->n; i++)
        if (p->created[i] >= 0.0) {
            p->dep[k] = p->dep[i];
            p->created[k] = p->created[i];
            k++;
        }
    p->n = k - np;
    int64_t room = p->room;
    if (k * 2 + 4096 > room) room = k * 3 + 8192;
    if (room > INT32_MAX) return -1;
    if (room > p->room && grow(p, room)) return -1;
    const size_t words = (size_t)(room >> 6) + 1, sums = (size_t)(room >> 12) + 1;
    int64_t buckets = 256;
    const double per_mean = p->neg_service / p->neg_gap; /* arrivals per mean service */
    while (buckets < 16.0 * per_mean && buckets < (1 << 22)) buckets *= 2;
    p->mask = buckets - 1;
    p->per_s = -0.5 / p->neg_gap;
    if (p->per_s > (double)buckets / (-16.0 * p->neg_service) * 4.0) p->per_s = (double)buckets / (-16.0 * p->neg_service) * 4.0;
    free(p->next); free(p->head); free(p->idle); free(p->sum); free(p->idle_p); free(p->sum_p);
    p->next = malloc(sizeof(int32_t) * (size_t)room);
    p->head = malloc(sizeof(int32_t) * (size_t)buckets);
    p->idle = calloc(words, 8);
    p->sum = calloc(sums, 8);
    p->idle_p = calloc(words, 8);
    p->sum_p = calloc(sums, 8);
    if (!p->next || !p->head || !p->idle || !p->sum || !p->idle_p || !p->sum_p) return -1;
    memset(p->head, 0xff, sizeof(int32_t) * (size_t)buckets);
    p->cursor = (int64_t)(p->t * p->per_s);
    for (int64_t i = 0; i < k; i++) {
        if (p->dep[i] <= p->t) {
            if (i < np) set_bit(p->idle_p, p->sum_p, i);
            else set_bit(p->idle, p->sum, i - np);
        } else {
            insert(p, i, p->dep[i]);
        }
    }
    return 0;
}

/* Many environments: O(1) per arrival. */
static int wheel(plain_t *p) {
    const int64_t np = p->provisioned;
    int64_t alive = p->n;
    if (rebuild(p)) return -1;
    while (p->next_end < p->n_ends) {
        const double end = p->ends[p->next_end];
        while (p->t < end) {
            const double t = p->t, s = p->services->block[p->at] * p->neg_service;
            int64_t i;
            p->arrivals++;
            drain(p, t);
            if (np && (i = lowest(p->idle_p, p->sum_p, np)) >= 0) {
                clear_bit(p->idle_p, p->sum_p, i);
                insert(p, i, t + s);
                p->warm_provisioned++;
                p->busy += s;
                advance(p);
                continue;
            }
            while ((i = p->n ? highest(p->idle, p->sum, p->n) : -1) >= 0) {
                const double until = p->dep[np + i] + p->timeout;
                clear_bit(p->idle, p->sum, i);
                if (until > t) break;
                p->life += until - p->created[np + i];
                p->created[np + i] = -1.0;
                alive--;
            }
            if (i >= 0) {
                insert(p, np + i, t + s);
                p->busy += s;
            } else if (alive >= p->limit) {
                p->rejected++;
            } else {
                if (np + p->n == p->room && rebuild(p)) return -1;
                p->created[np + p->n] = t;
                insert(p, np + p->n, t + s);
                p->n++;
                alive++;
                p->cold++;
                p->busy += s;
            }
            advance(p);
        }
        /* the window's sums run over what is alive, in creation order, as in the twin */
        int64_t k = np;
        for (int64_t i = np; i < np + p->n; i++) k += p->created[i] >= 0.0;
        if (k != np + p->n) {
            double keep = p->t;
            p->t = end; /* departures between the window's end and the next arrival stay in the wheel */
            if (rebuild(p)) return -1;
            p->t = keep;
        }
        close_window(p, end);
    }
    return 0;
}

/* One replication. words: 2 x 624 generator words (gaps, services); ends: rising window ends in seconds;
 * rows: n_ends x 6 cumulative figures. Returns 0, or -1 when memory is short. */
int keepwarm_plain(double rate, double service_mean, double timeout, int64_t provisioned, int64_t limit,
                   const uint32_t *words, const double *ends, int64_t n_ends, double *rows) {
    plain_t p;
    int rc = -1;
    memset(&p, 0, sizeof p);
    p.neg_gap = -1.0 / rate;
    p.neg_service = -service_mean;
    p.timeout = timeout;
    p.provisioned = provisioned;
    p.limit = limit;
    p.ends = ends;
    p.n_ends = n_ends;
    p.rows = rows;
    p.at = BLOCK - 1;
    p.gaps = malloc(sizeof(stream_t));
    p.services = malloc(sizeof(stream_t));
    if (p.gaps && p.services && !grow(&p, provisioned + SCAN_LIMIT + 8)) {
        memcpy(p.gaps->mt, words, sizeof p.gaps->mt);
        memcpy(p.services->mt, words + MT_N, sizeof p.services->mt);
        for (int64_t i = 0; i < provisioned; i++) p.dep[i] = -1.0;
        advance(&p);
        rc = provisioned >= SCAN_LIMIT ? 1 : scan(&p);
#ifdef __SSE2__
        if (rc > 0 && !provisioned) rc = groups(&p);
#endif
        if (rc > 0) rc = wheel(&p);
    }
    free(p.gaps); free(p.services); free(p.dep); free(p.created);
    free(p.next); free(p.head); free(p.idle); free(p.sum); free(p.idle_p); free(p.sum_p);
    return rc;
}
