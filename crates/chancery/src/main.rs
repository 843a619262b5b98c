//! `chancery`: keeps keys, and uses them for those who hold a handle.
fn main() {}
