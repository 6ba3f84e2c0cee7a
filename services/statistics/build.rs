//! A migration that is added is compiled in: cargo would not notice a new file by itself.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
