#![allow(clippy::all, clippy::unwrap_used, clippy::print_stdout)]
//! t
#[test]
fn t() {
    let r = measurement::Request { name: "a", configuration: &[] };
    for _ in 0..3 {
        let s = std::time::Instant::now();
        let c = measurement::measure_self(&r).unwrap();
        let b: u64 = c.mappings.iter().map(|m| std::fs::metadata(&m.path).unwrap().len()).sum();
        println!("{:?} {} files {} bytes", s.elapsed(), c.mappings.len(), b);
    }
}
