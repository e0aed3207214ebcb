//! The locks that the models look inside: parking_lot's, or loom's when its models run.

#[cfg(not(feature = "loom"))]
pub use parking_lot::Mutex;

#[cfg(feature = "loom")]
pub use model::Mutex;

#[cfg(feature = "loom")]
mod model {
    /// loom's mutex with parking_lot's face: no poisoning.
    #[derive(Debug)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// A new mutex; only inside a model.
        pub fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        pub fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("a model's thread panicked")
        }
    }
}
