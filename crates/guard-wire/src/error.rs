//! What can be wrong with a frame.

/// A frame that is none. The connection that it came over is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It is of another version.
    #[error("a frame of version {0}")]
    Version(u16),
    /// There is no such frame, or not there.
    #[error("a frame with the code {0:#06x}, which is none here")]
    Code(u16),
    /// Its body is longer than that of any frame of its code.
    #[error("a frame with a body of {0} bytes")]
    TooLong(u64),
    /// The body ends too early.
    #[error("a body that ends before what it states")]
    Truncated,
    /// There is more than belongs into it.
    #[error("a body with {0} bytes too many")]
    Trailing(usize),
    /// What fills up the last word of a byte string is not zero.
    #[error("a byte string with something behind its end")]
    Padding,
    /// A number beyond what there can be.
    #[error("{0} of a number that cannot be")]
    Number(&'static str),
    /// A text that is none.
    #[error("a text that is no UTF-8")]
    Text,
    /// Something that no client sends and no server answers, such as a length that does not go with another.
    #[error("{0} as nobody sends it")]
    Contradiction(&'static str),
    /// The real module says that it has written more than there was room for.
    #[error("a module that wrote beyond the room it had")]
    Overrun,
}
