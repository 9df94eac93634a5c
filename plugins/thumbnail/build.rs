//! Gives this handler a larger stack than `.cargo/config.toml` gives the others: the last `stack-size` counts.
//! Image decoders keep whole tables in local variables; 64 KiB overflows on ordinary files.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family.contains("wasm")) {
        println!("cargo::rustc-link-arg=-zstack-size=262144");
    }
}
