//! Turns at a real module whose processes get in each other's way.

use pkcs11_table::Function;

/// Who keeps the calls of several processes apart. A turn is a leaf: whoever has one waits for nothing else.
pub trait Turns: Sync {
    /// Waits until a call of this function may be made.
    fn begin(&self, function: Function);
    /// The call has returned.
    fn end(&self, function: Function);
}

/// The turn of a call, until dropped.
pub(crate) struct Turn(&'static dyn Turns, Function);

impl Turn {
    pub(crate) fn wait(turns: &'static dyn Turns, function: Function) -> Self {
        turns.begin(function);
        Self(turns, function)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}
