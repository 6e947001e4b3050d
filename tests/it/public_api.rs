//! What the library makes public, so that none of it changes by accident.
//!
//! The declarations are printed from the source into `tests/public_api.txt`. A change of the public
//! API is a change of that file: `PUBLIC_API=write cargo test public_api`.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Fields, ImplItem, Item, Type, UseTree, Visibility};

const PRINTED: &str = "tests/public_api.txt";

#[test]
fn the_public_api_is_what_it_is_on_purpose() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let actual = declarations(&root.join("src"));
    let printed = root.join(PRINTED);
    if env::var("PUBLIC_API").is_ok_and(|value| value == "write") {
        fs::write(&printed, &actual).unwrap();
    }
    let expected = fs::read_to_string(&printed).unwrap();
    let differs = |(a, b): &(&str, &str)| a != b;
    let lines = expected.lines().zip(actual.lines());
    assert!(
        expected == actual,
        "the public API differs from {PRINTED}, first here: {:?}. If that is on purpose: \
         PUBLIC_API=write cargo test public_api",
        lines.into_iter().find(differs)
    );
}

/// The declarations of everything public, formatted.
fn declarations(src: &Path) -> String {
    let lib = parse(&src.join("lib.rs"));
    let mut names = BTreeMap::new();
    let mut items: Vec<Item> = Vec::new();
    for item in lib.items {
        match item {
            Item::Use(item) if is_public(&item.vis, &item.attrs) => {
                add_names(&item.tree, src, &mut names);
                items.push(Item::Use(item));
            }
            Item::Mod(item) if is_public(&item.vis, &item.attrs) => {
                let file = parse(&src.join(format!("{}.rs", item.ident)));
                items.push(Item::Mod(syn::ItemMod {
                    content: Some((Default::default(), public(file.items, &|_| true))),
                    semi: None,
                    ..item
                }));
            }
            _ => {}
        }
    }
    let mut files = Vec::new();
    find_files(src, &mut files);
    files.sort();
    for file in files {
        let module = file.with_extension("");
        // An implementation may be anywhere, a definition only in its room.
        let is_named = |name: &Name| match name {
            Name::Of(name) => names.get(name).is_some_and(|room| module.starts_with(room)),
            Name::For(name) => names.contains_key(name),
        };
        items.extend(public(parse(&file).items, &is_named));
    }
    items.iter_mut().for_each(strip);
    prettyplease::unparse(&syn::File {
        shebang: None,
        frontmatter: None,
        attrs: Vec::new(),
        items,
    })
}

fn parse(path: &Path) -> syn::File {
    syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The source files, without the tests.
fn find_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            find_files(&path, files);
        } else if name.ends_with(".rs") && !["lib.rs", "main.rs", "tests.rs"].contains(&name) {
            files.push(path);
        }
    }
}

/// The names that a `use` makes public, and the modules below which they are defined.
fn add_names(tree: &UseTree, room: &Path, names: &mut BTreeMap<String, PathBuf>) {
    match tree {
        UseTree::Path(path) => {
            let room = room.join(path.ident.to_string());
            add_names(&path.tree, &room, names);
        }
        UseTree::Name(name) => drop(names.insert(name.ident.to_string(), room.into())),
        UseTree::Group(group) => {
            let trees = group.items.iter();
            trees.for_each(|tree| add_names(tree, room, names));
        }
        other => panic!("a form of `use` that is not read here: {other:?}"),
    }
}

/// The name of an item, or of the type that an implementation is for.
enum Name {
    Of(String),
    For(String),
}

/// The public items that are wanted, and the implementations for them.
fn public(items: Vec<Item>, is_wanted: &dyn Fn(&Name) -> bool) -> Vec<Item> {
    let is_public = |item: &Item| {
        let (vis, attrs, name) = match item {
            Item::Const(item) => (&item.vis, &item.attrs, &item.ident),
            Item::Enum(item) => (&item.vis, &item.attrs, &item.ident),
            Item::Fn(item) => (&item.vis, &item.attrs, &item.sig.ident),
            Item::Struct(item) => (&item.vis, &item.attrs, &item.ident),
            Item::Trait(item) => (&item.vis, &item.attrs, &item.ident),
            Item::Type(item) => (&item.vis, &item.attrs, &item.ident),
            Item::Impl(item) => {
                return match &*item.self_ty {
                    Type::Path(path) => {
                        let name = &path.path.segments.last().unwrap().ident;
                        is_wanted(&Name::For(name.to_string()))
                    }
                    _ => false,
                };
            }
            _ => return false,
        };
        is_public(vis, attrs) && is_wanted(&Name::Of(name.to_string()))
    };
    let mut found: Vec<Item> = items.into_iter().filter(is_public).collect();
    for item in &mut found {
        if let Item::Impl(item) = item {
            let of_trait = item.trait_.is_some();
            item.items.retain(|item| match item {
                ImplItem::Fn(item) => !of_trait && self::is_public(&item.vis, &item.attrs),
                _ => false,
            });
        }
    }
    found.retain(|item| !matches!(item, Item::Impl(i) if i.trait_.is_none() && i.items.is_empty()));
    found
}

fn is_public(vis: &Visibility, attrs: &[Attribute]) -> bool {
    matches!(vis, Visibility::Public(_)) && !attrs.iter().any(is_hidden)
}

fn is_hidden(attribute: &Attribute) -> bool {
    attribute.path().is_ident("doc")
        && attribute
            .parse_args::<syn::Ident>()
            .is_ok_and(|word| word == "hidden")
}

/// Takes away what is not a part of the declaration: documentation, bodies, private fields.
fn strip(item: &mut Item) {
    let keep = |attrs: &mut Vec<Attribute>| attrs.retain(|attr| attr.path().is_ident("derive"));
    let empty = || syn::parse_quote!({});
    match item {
        Item::Const(item) => keep(&mut item.attrs),
        Item::Use(item) => keep(&mut item.attrs),
        Item::Type(item) => keep(&mut item.attrs),
        Item::Enum(item) => {
            keep(&mut item.attrs);
            item.variants.iter_mut().for_each(|it| keep(&mut it.attrs));
        }
        Item::Fn(item) => {
            keep(&mut item.attrs);
            *item.block = empty();
        }
        Item::Struct(item) => {
            keep(&mut item.attrs);
            let fields = match &mut item.fields {
                Fields::Named(fields) => &mut fields.named,
                Fields::Unnamed(fields) => &mut fields.unnamed,
                Fields::Unit => return,
            };
            let all = std::mem::take(fields).into_iter();
            fields.extend(all.filter(|field| is_public(&field.vis, &field.attrs)));
            fields.iter_mut().for_each(|field| keep(&mut field.attrs));
        }
        Item::Trait(item) => {
            keep(&mut item.attrs);
            for item in &mut item.items {
                if let syn::TraitItem::Fn(item) = item {
                    keep(&mut item.attrs);
                    item.default = item.default.as_ref().map(|_| empty());
                }
            }
        }
        Item::Impl(item) => {
            keep(&mut item.attrs);
            for item in &mut item.items {
                if let ImplItem::Fn(item) = item {
                    keep(&mut item.attrs);
                    item.block = empty();
                }
            }
        }
        Item::Mod(item) => {
            keep(&mut item.attrs);
            let items = item.content.iter_mut().flat_map(|(_, items)| items);
            items.for_each(strip);
        }
        _ => {}
    }
}
