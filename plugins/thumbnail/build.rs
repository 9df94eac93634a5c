//! Gives this handler a larger stack than `.cargo/config.toml` gives the others: the last `stack-size` counts.
//! The JPEG decoder overflows 64 KiB and gets by with 128 KiB; this is twice that.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family.contains("wasm")) {
        println!("cargo::rustc-link-arg=-zstack-size=262144");
    }
}
