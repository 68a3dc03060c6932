/* Preloaded into a process whose library has ud2 in place of cpuid: answers for the CPU, with
 * the feature bits cleared that NVC_CPUID_CLEAR names ("leaf.register.bits,...", hexadecimal,
 * register one of a, b, c, d; every subleaf of a leaf is treated alike). */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define MAX_CLEARS 32

static struct {
    unsigned leaf, bits;
    int reg;
} clears[MAX_CLEARS];
static int clear_count;

static void on_illegal(int signal_number, siginfo_t *info, void *context) {
    greg_t *saved = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *at = (const uint8_t *)saved[REG_RIP];
    (void)info;
    if (at[0] != 0x0f || at[1] != 0x0b) { /* a real one: let it end the process */
        signal(signal_number, SIG_DFL);
        return;
    }
    unsigned leaf = (unsigned)saved[REG_RAX], out[4];
    __cpuid_count(leaf, (unsigned)saved[REG_RCX], out[0], out[1], out[2], out[3]);
    for (int i = 0; i < clear_count; i++)
        if (clears[i].leaf == leaf) out[clears[i].reg] &= ~clears[i].bits;
    saved[REG_RAX] = out[0];
    saved[REG_RBX] = out[1];
    saved[REG_RCX] = out[2];
    saved[REG_RDX] = out[3];
    saved[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
    const char *text = getenv("NVC_CPUID_CLEAR");
    while (text && *text) {
        unsigned leaf, bits;
        char reg;
        if (clear_count == MAX_CLEARS || sscanf(text, "%x.%c.%x", &leaf, &reg, &bits) != 3 ||
            reg < 'a' || reg > 'd') {
            fprintf(stderr, "NVC_CPUID_CLEAR: cannot read '%s'\n", text);
            _Exit(2);
        }
        clears[clear_count].leaf = leaf;
        clears[clear_count].reg = reg - 'a';
        clears[clear_count++].bits = bits;
        text = strchr(text, ',');
        if (text) text++;
    }
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_illegal;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGILL, &action, NULL);
}
