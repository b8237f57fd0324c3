//! The classes of what can be wrong with a file.

use std::fmt;

macro_rules! faults {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// A class of what is wrong with a file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault { $(#[doc = $doc] $variant,)* }

        impl Fault {
            /// The name that programs match on.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Fault::$variant => $name,)* }
            }
        }
    };
}

faults! {
    Io "io" "The operating system refused.",
    Truncated "truncated" "The file ends too early.",
    Magic "magic" "The file is of another kind.",
    Version "version" "A version that is not known.",
    Flags "flags" "A flag that is not known.",
    Limit "limit" "More than a reader of this format will take.",
    Json "json" "Text that is not JSON, or a value of the wrong type.",
    Key "key" "A key that is unknown, missing or there twice.",
    Name "name" "A dtype, layer type, activation or variant that is not known.",
    Grid "grid" "A grid or a position that cannot be.",
    Nesting "nesting" "Layers inside layers too deep.",
    Path "path" "A blob's path that no layer has.",
    Duplicate "duplicate" "Two blobs for one thing.",
    Missing "missing" "A layer whose weights are not there.",
    Length "length" "A blob of another length than its layer needs.",
    Overlap "overlap" "Blobs that share bytes, or leave bytes between them.",
    Trailing "trailing" "Bytes after the end.",
    Scale "scale" "A scale or a zero point that cannot be.",
    Tail "tail" "Unused bits that are not zero.",
    Digest "digest" "Bytes that have changed since they were written.",
    Compression "compression" "A compressed section that cannot be expanded.",
    Base64 "base64" "Text that is not Base64.",
    NonFinite "nonfinite" "NaN or infinity where a number is needed.",
    Code "code" "A code that stands for no weight of its dtype.",
    Config "config" "A layer that contradicts itself.",
    Loss "loss" "Something that the target format has no field for.",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
