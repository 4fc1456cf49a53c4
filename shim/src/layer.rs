//! The one shape of a layer, under the name that it has here.

pub(crate) use cryptoki_ffi::Layer;
