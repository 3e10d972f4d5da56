# One recipe, one job. CI runs these bodies; each also runs as it stands, without `just`.

# Lists the recipes.
default:
    @just --list

# Every test of the workspace.
test:
    cargo test --workspace

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

# Random scripts over the scripted kernel, without a fuzzer.
scripts count="20000":
    cargo run --profile sim -p multibeam-fuzz --bin scripts -- --count {{count}}

# One fuzz target (event_loop, client_frame) for so many seconds; needs cargo-fuzz.
fuzz target seconds="60":
    RUSTC_BOOTSTRAP=1 cargo fuzz run -s none --features libfuzzer {{target}} -- -max_total_time={{seconds}}

# 10,000 subscribers get one publish.
load-10k:
    cargo run --release -p multibeam --example load

# Bad clients get a numbered close, and their neighbour notices nothing.
hostile:
    cargo run --release -p multibeam --example hostile
