//! Links the shim so that it is never unloaded: applications close modules from fork handlers and at exit, with
//! calls still under way. And so that its own function list holds its own functions, whatever a program that is linked
//! with the vendor's module, or preloads something, has under the same names.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic-functions");
    println!("cargo::rerun-if-changed=build.rs");
}
