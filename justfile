# One recipe, one job. CI runs these bodies; each also runs as it stands, without `just`.

# Lists the recipes.
default:
    @just --list

# Every test of the workspace.
test:
    cargo test --workspace

# Three nodes on this machine, as a cluster, until Ctrl-C.
cluster:
    cargo run --release -- dev --nodes 3

# Format and lints.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# The documentation builds without a warning.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Whole nodes in the simulator, one seed after the other.
sweep seeds="0..300":
    cargo run --profile sim -p multibeam-sim -- sweep --seeds {{seeds}}

# A seed gives the same bytes in every process.
meta seeds="0..20":
    cargo run --profile sim -p multibeam-sim -- meta --seeds {{seeds}}

# Each planted bug is caught by the simulator.
planted:
    cargo run --profile sim -p multibeam-sim -- planted

# Model checks of the rings under loom: what was explored, and how much.
loom:
    cargo test -p multibeam-loom-tests --test models -- --nocapture

# Each ordering of the rings, weakened: a model must fail.
mutants:
    cargo test -p multibeam-loom-tests --test mutants -- --nocapture

# Both for the snapshot cell, whose epochs are built with a flag for loom.
loom-snapshot:
    RUSTFLAGS="--cfg crossbeam_loom" cargo test --manifest-path loom-tests/snapshot/Cargo.toml \
        --target-dir target/loom-snapshot -- --nocapture

# The stress of all structures between threads, so many times as long, under ThreadSanitizer.
tsan times="3":
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" cargo test \
        --target x86_64-unknown-linux-gnu --target-dir target/tsan -p multibeam-rings --test stress -- {{times}}

# Random scripts over the scripted kernel, or lives of a shard (target `session`), without a fuzzer.
scripts count="20000" target="event-loop":
    cargo run --profile sim -p multibeam-fuzz --bin scripts -- --target {{target}} --count {{count}}

# One fuzz target (a folder of fuzz/corpus) for so many seconds; needs cargo-fuzz.
fuzz target seconds="60":
    RUSTC_BOOTSTRAP=1 cargo fuzz run -s none --features libfuzzer {{target}} -- -max_total_time={{seconds}}

# What the replay of the fuzz corpus reaches of crates/wire, by file; also as `--json`.
coverage *flags:
    cargo run -p multibeam-fuzz --bin coverage -- {{flags}}

# The rings against others, beside what the two cores need to pass a cache line; also as `--json`.
bench-rings *flags:
    cargo bench -p multibeam-rings --bench rings -- {{flags}}

# Time a frame, in both forms, beside a memcpy of the same bytes; also as `--json`.
bench-wire *flags:
    cargo bench -p multibeam-wire --bench codec -- {{flags}}

# A node beside the bare system calls (`all`, or one of fanout, unicast, pingpong, idle), or `election`; also `--json`.
bench-node *flags="all":
    cargo run --release -p multibeam -- bench {{flags}}

# 10,000 subscribers get one publish.
load-10k:
    cargo run --release -p multibeam --example load

# Bad clients get a numbered close, and their neighbour notices nothing.
hostile:
    cargo run --release -p multibeam --example hostile
