/* A process that forks while writers and readers are at work: the child can publish, insert and look up, and memory is
 * given back in it. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "random_rules.h"

static fc_fib *fib;
static fc_classifier *classifier;
static fc_rule rules[300];
static atomic_int stop;

static int publish(uint64_t which, fc_fib *table)
{
    fc_target t = {.bid = 1, .version = 6};
    fc_node node = {
        .home = {{0x20010db800010000u, which}, 6, 128, {0}}, .targets = &t, .n_targets = 1, .default_target = 0};
    return fc_fib_publish(table, &node, NULL);
}

static void *write_nodes(void *about)
{
    for (uint64_t i = 0; !atomic_load(&stop); i++)
        CHECK(publish(i % 200, fib) == FC_OK);
    return about;
}

static int change_rules(void)
{
    double priority = -1;
    uint32_t id, done;
    int status = fc_classifier_insert(classifier, &rules[0], &priority, 1, &id, &done);
    return status == FC_OK ? fc_classifier_remove(classifier, &id, 1, &done) : status;
}

static void *write_rules(void *about)
{
    while (!atomic_load(&stop))
        CHECK(change_rules() == FC_OK);
    return about;
}

static void *look_up(void *about)
{
    fc_key keys[64];
    int32_t out[64];
    fc_decision decisions[64];
    memset(keys, 0, sizeof keys);
    while (!atomic_load(&stop)) {
        CHECK(fc_classifier_lookup(classifier, keys, 64, out, FC_KERNEL_AUTO) == FC_OK);
        CHECK(fc_fib_classify(fib, keys, 64, FC_KERNEL_AUTO, 1, decisions) == FC_OK);
    }
    return about;
}

static int child(void)
{
    fc_fib_info info;
    alarm(30);
    for (uint64_t i = 0; i < 500; i++)
        if (publish(i % 50, fib) != FC_OK || change_rules() != FC_OK)
            return 1;
    fc_fib_reclaim(fib);
    fc_fib_get_info(fib, &info);
    if (info.waiting != 0) /* no reader is left who could see what was replaced */
        return 2;
    if (fc_classifier_rebuild(classifier) != FC_OK)
        return 3;
    fc_classifier_free(classifier);
    fc_fib_free(fib);
    return 0;
}

int main(void)
{
    pthread_t thread[5];
    int forks = getenv("FC_TEST_QUICK") ? 2 : 20;
    for (uint32_t i = 0; i < 300; i++)
        rules[i] = random_rule(FC_SOURCE_PORT | FC_PROTOCOL);
    CHECK(fc_fib_new((const uint8_t *)"0123456789abcdef", &fib) == FC_OK);
    CHECK(fc_classifier_new(rules, 300, NULL, &classifier, NULL) == FC_OK);
    void *(*const work[5])(void *) = {write_nodes, write_nodes, write_rules, look_up, look_up};
    for (int i = 0; i < 5; i++)
        CHECK(pthread_create(&thread[i], NULL, work[i], NULL) == 0);
    for (int i = 0; i < forks; i++) {
        int status;
        pid_t p = fork();
        if (p == 0)
            _exit(child());
        CHECK(waitpid(p, &status, 0) == p && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < 5; i++)
        pthread_join(thread[i], NULL);
    fc_classifier_free(classifier);
    fc_fib_free(fib);
    printf("fork: ok\n");
    return 0;
}
