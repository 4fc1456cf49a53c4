//! Links the shim so that it is never unloaded: applications close modules from fork handlers and at exit, with
//! calls still under way.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rerun-if-changed=build.rs");
}
