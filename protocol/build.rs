//! Compiles the `.proto` files with `protox`, so that no `protoc` is needed.

use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "proto/generate.proto",
        "proto/envelope.proto",
        "proto/advert.proto",
        "proto/membership.proto",
        "proto/chain.proto",
        "proto/reconcile.proto",
        "proto/weights.proto",
        "proto/board.proto",
        "proto/demand.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    prost_build::Config::new()
        .out_dir(out)
        .compile_fds(descriptors)?;
    Ok(())
}
