#!/bin/sh
# The compiler as `cargo xtask fuzz` calls it: libFuzzer gets to see which way the crates go that the profile compiles as
# one unit. All others stay as the tests have them and are taken from there.
case " $* " in
*" codegen-units=1 "*)
    exec "$@" -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares \
        -Cllvm-args=-simplifycfg-branch-fold-threshold=0
    ;;
*) exec "$@" ;;
esac
