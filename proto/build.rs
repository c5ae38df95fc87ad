//! Compiles the `.proto` files with protox, a pure-Rust compiler, so that no `protoc` is needed.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    let files = [
        "twinset/ledger/v1/ledger.proto",
        "twinset/cluster/v1/sets.proto",
        "twinset/cluster/v1/admin.proto",
        "twinset/cluster/v1/peer.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(files, [root])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
