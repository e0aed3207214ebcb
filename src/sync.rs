//! The locks that the models look inside: parking_lot's, or loom's when its models run.

#[cfg(not(feature = "loom"))]
pub use parking_lot::{Condvar, Mutex};

#[cfg(feature = "loom")]
pub use model::{Condvar, Mutex};

#[cfg(feature = "loom")]
mod model {
    use std::ops::{Deref, DerefMut};

    /// loom's mutex with parking_lot's face: no poisoning.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    /// Absent only while its thread waits at a [`Condvar`].
    #[derive(Debug)]
    pub struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    /// loom's condition variable with parking_lot's face; like that one, it wakes nobody without being told to.
    #[derive(Debug)]
    pub struct Condvar(loom::sync::Condvar);

    impl<T> Mutex<T> {
        /// A new mutex; only inside a model.
        pub fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().expect("a model's thread panicked")))
        }
    }

    impl Condvar {
        /// A new one; only inside a model.
        pub fn new() -> Self {
            Condvar(loom::sync::Condvar::new())
        }

        /// Gives the lock back until somebody wakes this thread.
        pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let inner = guard.0.take().expect("not waiting yet");
            guard.0 = Some(self.0.wait(inner).expect("a model's thread panicked"));
        }

        /// Wakes one thread that waits.
        pub fn notify_one(&self) {
            self.0.notify_one();
        }

        /// Wakes all threads that wait.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("not waiting")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("not waiting")
        }
    }
}
