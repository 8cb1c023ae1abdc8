/* The plain model in its tail: exact for exponential services, without simulating what cannot matter.
 *
 * The `group` first environments in the order of placement (provisioned, then newest on-demand) are one loss group:
 * a request reaches an older environment only when all of the group are busy, and which of the group are busy makes
 * no difference. While the group is not full, nothing happens to the others but that they finish and expire, so the
 * time until it is full again is drawn at once from its exact law, a mixture of exponentials (first passage of a
 * birth-and-death chain to the next state). No one of the group expires as long as no such time reaches the idle
 * timeout: those that do are counted in `violations`.
 */

/* Eigenvalues d and squared last components z of the eigenvectors of a symmetric tridiagonal matrix (implicit QL,
 * as in Golub and Welsch 1969). d: diagonal, e: off-diagonal, e[n-1] free. */
int keepwarm_spectrum(int64_t n, double *d, double *e, double *z) {
    for (int64_t i = 0; i < n; i++) z[i] = 0.0;
    z[n - 1] = 1.0;
    e[n - 1] = 0.0;
    for (int64_t l = 0; l < n; l++) {
        for (int round = 0;; round++) {
            int64_t m = l;
            while (m < n - 1) {
                double size = fabs(d[m]) + fabs(d[m + 1]);
                if (fabs(e[m]) <= 2.220446049250313e-16 * size) break;
                m++;
            }
            if (m == l) break;
            if (round == 60) return -1;
            double g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            double r = sqrt(g * g + 1.0);
            g = d[m] - d[l] + e[l] / (g + (g >= 0.0 ? r : -r));
            double s = 1.0, c = 1.0, p = 0.0;
            int64_t i;
            for (i = m - 1; i >= l; i--) {
                double f = s * e[i], b = c * e[i];
                r = sqrt(f * f + g * g);
                e[i + 1] = r;
                if (r == 0.0) {
                    d[i + 1] = d[i + 1] - p;
                    e[m] = 0.0;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
                f = z[i + 1];
                z[i + 1] = s * z[i] + c * f;
                z[i] = c * z[i] - s * f;
            }
            if (r == 0.0 && i >= l) continue;
            d[l] = d[l] - p;
            e[l] = g;
            e[m] = 0.0;
        }
    }
    for (int64_t i = 0; i < n; i++) z[i] = z[i] * z[i];
    return 0;
}

typedef struct { stream_t s; double u[BLOCK]; int at; } draw_t;

static inline double draw(draw_t *d) {
    if (d->at == BLOCK) {
        refill_uniform(&d->s, d->u);
        d->at = 0;
    }
    return d->u[d->at++];
}

#define TAIL_ROW 5

/* One stretch from a full group and no older environment. accept, other, phase_rate: alias table of the passage
 * times. Rows per window end: overflowing requests, cold, rejected, seconds that older environments existed,
 * violations. */
int keepwarm_tail(double rate, double service_mean, double timeout, int64_t group, int64_t limit, int64_t phases,
                  const double *accept, const int64_t *other, const double *phase_rate, const uint32_t *words,
                  const double *ends, int64_t n_ends, double *rows) {
    draw_t *rng = malloc(sizeof(draw_t));
    int64_t n = 0, room = 1024, overflow = 0, cold = 0, rejected = 0, violations = 0;
    double *dep = malloc(sizeof(double) * (size_t)room), *since = malloc(sizeof(double) * (size_t)room);
    if (!rng || !dep || !since) { free(rng); free(dep); free(since); return -1; }
    memcpy(rng->s.mt, words, sizeof rng->s.mt);
    rng->at = BLOCK;
    const double leave = (double)group / service_mean, total = rate + leave, to_arrival = rate / total;
    const double neg_step = -1.0 / total;
    double t = 0.0, life = 0.0;
    int64_t k = 0;
    int rc = 0;
    while (k < n_ends) {
        t = t + log(1.0 - draw(rng)) * neg_step;
        int arrives = draw(rng) < to_arrival;
        if (!arrives) {
            double u = draw(rng) * (double)phases;
            int64_t phase = (int64_t)u;
            if (u - (double)phase >= accept[phase]) phase = other[phase];
            double passage = log(1.0 - draw(rng)) / -phase_rate[phase];
            if (passage >= timeout) violations++;
            t = t + passage;
        }
        while (k < n_ends && t >= ends[k]) {
            double sum = life, tc = ends[k];
            for (int64_t i = 0; i < n; i++) {
                double until = dep[i] + timeout;
                sum += (until < tc ? until : tc) - since[i];
            }
            double *row = rows + TAIL_ROW * k++;
            row[0] = (double)overflow;
            row[1] = (double)cold;
            row[2] = (double)rejected;
            row[3] = sum;
            row[4] = (double)violations;
        }
        if (!arrives) continue;
        overflow++;
        int64_t i;
        for (i = n - 1; i >= 0; i--) {
            if (dep[i] > t) continue;
            double until = dep[i] + timeout;
            if (until > t) break;
            life += until - since[i];
            n--;
            for (int64_t j = i; j < n; j++) {
                dep[j] = dep[j + 1];
                since[j] = since[j + 1];
            }
        }
        double service = log(1.0 - draw(rng)) * -service_mean;
        if (i >= 0) {
            dep[i] = t + service;
        } else if (n >= limit) {
            rejected++;
        } else {
            if (n == room) {
                room *= 2;
                double *a = realloc(dep, sizeof(double) * (size_t)room);
                if (a) dep = a;
                double *b = realloc(since, sizeof(double) * (size_t)room);
                if (b) since = b;
                if (!a || !b) { rc = -1; break; }
            }
            /* the new one joins the group as its newest; the group's oldest, busy like all, leaves it */
            dep[n] = t + service;
            since[n] = t;
            n++;
            cold++;
        }
    }
    free(rng); free(dep); free(since);
    return rc;
}
