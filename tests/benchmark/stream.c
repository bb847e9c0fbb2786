/* STREAM's copy and triad (McCalpin 1995) over arrays of COUNT floats, ROUNDS times: median GB/s of each, one a line.
 *
 *     gcc -O3 -march=native -fopenmp stream.c -o stream && ./stream COUNT ROUNDS
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, count, sizeof *values, ascending);
    return values[count / 2];
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    size_t count = strtoull(argv[1], NULL, 10);
    int rounds = atoi(argv[2]);
    float *a = malloc(count * sizeof *a), *b = malloc(count * sizeof *b), *c = malloc(count * sizeof *c);
    double *copy = malloc(rounds * sizeof *copy), *triad = malloc(rounds * sizeof *triad);
    if (!a || !b || !c || !copy || !triad) return 1;
#pragma omp parallel for
    for (size_t i = 0; i < count; i++) {
        a[i] = 1.0f;
        b[i] = 2.0f;
        c[i] = 0.0f;
    }
    for (int round = 0; round < rounds; round++) {
        double start = omp_get_wtime();
#pragma omp parallel for
        for (size_t i = 0; i < count; i++) c[i] = a[i];
        double middle = omp_get_wtime();
#pragma omp parallel for
        for (size_t i = 0; i < count; i++) a[i] = b[i] + 0.5f * c[i];
        double end = omp_get_wtime();
        copy[round] = middle - start;
        triad[round] = end - middle;
    }
    double bytes = (double)count * sizeof *a / 1e9;
    printf("%.6f\n%.6f\n", 2 * bytes / median(copy, rounds), 3 * bytes / median(triad, rounds));
    return a[count / 2] == 12345.0f; /* so that no compiler drops the loops */
}
