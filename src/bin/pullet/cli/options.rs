//! Options as data: the names of an option, its help, and the function that stores its value.

use std::any::Any;

use super::value::Value;
use crate::exit::Failure;

/// An option without the type of the struct that it sets: all that help and the first pass of the parser need.
pub(crate) struct Spec {
    /// The names and the placeholder of the value, as help shows them: `-j, --jobs N`, `--store DIR`, `--stream`.
    pub(crate) usage: &'static str,
    /// One paragraph, which help wraps.
    pub(crate) help: &'static str,
}

/// An option that sets a field of `T`.
pub(crate) struct Opt<T: 'static> {
    pub(crate) spec: Spec,
    set: Setter<T>,
}

/// How an option is stored in a `T`.
enum Setter<T> {
    Flag(fn(&mut T)),
    Value(fn(&mut T, &Value<'_>) -> Result<(), Failure>),
}

/// Options that help shows together.
pub(crate) struct Group<T: 'static> {
    pub(crate) heading: &'static str,
    pub(crate) options: &'static [Opt<T>],
}

/// A [`Group`] of any type. [`Any`] finds the groups of one type among those of a command.
pub(crate) trait AnyGroup: Any + Sync {
    /// The line above the options in help.
    fn heading(&self) -> &'static str;

    /// The option at `index`.
    fn spec(&self, index: usize) -> Option<&'static Spec>;
}

/// The options of a group, in their order.
pub(crate) fn specs(group: &dyn AnyGroup) -> impl Iterator<Item = &'static Spec> {
    (0..).map_while(|index| group.spec(index))
}

impl Spec {
    /// The names, with their dashes. The long one is the last.
    pub(crate) fn names(&self) -> impl DoubleEndedIterator<Item = &'static str> {
        self.usage.split([',', ' ']).filter(|word| word.starts_with('-'))
    }

    /// The long name.
    pub(crate) fn long(&self) -> &'static str {
        self.names().next_back().unwrap_or(self.usage)
    }

    /// The placeholder of the value; the long name if the option has none.
    #[cfg(feature = "manage")]
    pub(crate) fn placeholder(&self) -> &'static str {
        self.usage.rsplit(' ').next().unwrap_or_default()
    }

    /// Whether the option has a value.
    pub(crate) fn has_value(&self) -> bool {
        !self.usage.ends_with(self.long())
    }
}

impl<T> Opt<T> {
    /// An option without a value.
    pub(crate) const fn flag(usage: &'static str, help: &'static str, set: fn(&mut T)) -> Self {
        Self { spec: Spec { usage, help }, set: Setter::Flag(set) }
    }

    /// An option with a value, which `set` parses. The last one counts if it is given several times, unless `set` collects
    /// them.
    pub(crate) const fn value(
        usage: &'static str,
        help: &'static str,
        set: fn(&mut T, &Value<'_>) -> Result<(), Failure>,
    ) -> Self {
        Self { spec: Spec { usage, help }, set: Setter::Value(set) }
    }

    pub(crate) fn store(&self, target: &mut T, value: &Value<'_>) -> Result<(), Failure> {
        match self.set {
            Setter::Flag(set) => {
                set(target);
                Ok(())
            }
            Setter::Value(set) => set(target, value),
        }
    }
}

impl<T> AnyGroup for Group<T> {
    fn heading(&self) -> &'static str {
        self.heading
    }

    fn spec(&self, index: usize) -> Option<&'static Spec> {
        self.options.get(index).map(|option| &option.spec)
    }
}
