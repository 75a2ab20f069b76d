//! The part of Go's text/template that `--format` needs: fields, functions, pipelines, `if`, `range` and variables, on JSON
//! values. Parsing finds unknown functions, and evaluation unknown fields.

mod functions;
mod parse;
mod value;

use pullet::Escaped;
use serde_json::Value;

use self::parse::{Command, Node, Operand, Pipeline};
use self::value::{display, field, is_true};
use crate::exit::Failure;

/// A parsed template.
pub(crate) struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Parses a template. The two letters `\t` mean a tab, and `\n` a line break, as with Docker.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        Ok(Self { nodes: parse::parse(&text).map_err(invalid)? })
    }

    /// The text for a value. Control characters of the value are escaped.
    pub(crate) fn text(&self, value: &Value) -> Result<String, Failure> {
        self.evaluate(value, false)
    }

    /// The text for the headings of columns: functions leave them as they are.
    pub(crate) fn heading(&self, headings: &Value) -> Result<String, Failure> {
        self.evaluate(headings, true)
    }

    fn evaluate(&self, root: &Value, is_heading: bool) -> Result<String, Failure> {
        let mut evaluation = Evaluation { root, variables: Vec::new(), is_heading, out: String::new() };
        evaluation.nodes(&self.nodes, root).map_err(invalid)?;
        Ok(evaluation.out)
    }
}

fn invalid(why: String) -> Failure {
    Failure::usage(format!("invalid template: {why}"))
}

struct Evaluation<'a> {
    root: &'a Value,
    variables: Vec<Variable>,
    is_heading: bool,
    out: String,
}

struct Variable {
    name: String,
    value: Value,
}

impl Evaluation<'_> {
    /// Appends the text of nodes. Their variables end with them.
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        let outer = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(outer);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => self.print(pipeline, dot)?,
            Node::Set { variable, value } => {
                let value = self.pipeline(value, dot)?;
                self.variables.push(Variable { name: variable.clone(), value });
            }
            Node::If { condition, body, otherwise } => {
                let holds = is_true(&self.pipeline(condition, dot)?);
                self.nodes(if holds { body } else { otherwise }, dot)?;
            }
            Node::Range { variables, over, body, otherwise } => {
                let elements = elements(self.pipeline(over, dot)?)?;
                if elements.is_empty() {
                    self.nodes(otherwise, dot)?;
                }
                for [key, element] in elements {
                    let outer = self.variables.len();
                    let values = [key, element.clone()];
                    let first = values.len() - variables.len().min(values.len());
                    for (name, value) in variables.iter().zip(values.into_iter().skip(first)) {
                        self.variables.push(Variable { name: name.clone(), value });
                    }
                    self.nodes(body, &element)?;
                    self.variables.truncate(outer);
                }
            }
        }
        Ok(())
    }

    /// Appends a value. Control characters in it are escaped, except those that the template itself has.
    fn print(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<(), String> {
        let text = display(&self.pipeline(pipeline, dot)?);
        let is_safe = pipeline.0.last().is_some_and(|command| match command.function {
            Some(function) => function.is_safe(),
            None => matches!(command.arguments.as_slice(), [Operand::Literal(_)]),
        });
        if is_safe {
            self.out.push_str(&text);
        } else {
            self.out.push_str(&Escaped(&text).to_string());
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut result = None;
        for command in &pipeline.0 {
            result = Some(self.command(command, dot, result)?);
        }
        Ok(result.unwrap_or_default())
    }

    /// Runs a command. `last` is the result of the one before.
    fn command(&self, command: &Command, dot: &Value, last: Option<Value>) -> Result<Value, String> {
        let mut arguments = Vec::new();
        for operand in &command.arguments {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        match command.function {
            Some(function) if self.is_heading => Ok(function.heading(&arguments)),
            Some(function) => function.call(&arguments),
            None if arguments.len() > 1 => Err("a value takes no arguments: | needs a function after it".to_owned()),
            None => Ok(arguments.pop().unwrap_or_default()),
        }
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Field(path) => field(dot, path),
            Operand::Variable { name, fields } if name.is_empty() => field(self.root, fields),
            Operand::Variable { name, fields } => {
                let variable = self.variables.iter().rev().find(|variable| variable.name == *name);
                field(&variable.ok_or_else(|| format!("unknown variable ${name}"))?.value, fields)
            }
            Operand::Pipeline(pipeline) => self.pipeline(pipeline, dot),
        }
    }
}

/// The elements of a list or object, each after its index or key.
fn elements(value: Value) -> Result<Vec<[Value; 2]>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => Ok(items.into_iter().enumerate().map(|(at, item)| [Value::from(at), item]).collect()),
        Value::Object(members) => Ok(members.into_iter().map(|(name, value)| [Value::from(name), value]).collect()),
        other => Err(format!("range over {other}, which has no elements")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluate(template: &str) -> Result<String, String> {
        let value = json!({
            "ID": "abc",
            "Tags": ["a:1", "b:2"],
            "Size": 7,
            "Config": { "Env": ["A=1"], "Cmd": null, "Labels": { "k": "v", "a.b": "c", "bad": "x\u{1b}[2J" } },
        });
        let failed = |failure: Failure| failure.lines().map_or(String::new(), |(text, _)| text.to_owned());
        Template::parse(template).and_then(|template| template.text(&value)).map_err(failed)
    }

    #[test]
    fn evaluates_what_go_evaluates() {
        for (template, expected) in [
            ("plain", "plain"),
            ("{{.ID}}: {{.Size}}", "abc: 7"),
            ("{{ .Config.Labels.k }}", "v"),
            ("{{.Tags}} {{.Config.Labels}}", "[a:1 b:2] map[a.b:c bad:x\\u{1b}[2J k:v]"),
            (r#"{{json .Config.Labels.bad}}"#, r#""x\u001b[2J""#),
            ("{{json .Tags}}", r#"["a:1","b:2"]"#),
            ("{{.ID | upper | printf}}", "!unknown function \"printf\""),
            (r#"{{join .Tags ","}}"#, "a:1,b:2"),
            (r#"{{index .Config.Labels "a.b"}}{{index .Config.Labels "none"}}"#, "c"),
            ("{{index .Tags 1}}{{(index .Tags 0)}}", "b:2a:1"),
            ("{{index .Tags 2}}", "!out of range"),
            ("{{len .Tags}}{{len .Config.Cmd}}{{.Tags | len}}", "202"),
            ("{{range .Tags}}{{.}};{{end}}", "a:1;b:2;"),
            ("{{range $i, $t := .Tags}}{{$i}}={{$t}} {{end}}", "0=a:1 1=b:2 "),
            ("{{range $t := .Tags}}{{$t}}{{$.ID}}{{end}}", "a:1abcb:2abc"),
            ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
            ("{{if .Config.Cmd}}a{{else if .ID}}b{{else}}c{{end}}", "b"),
            ("{{if not .Config.Cmd}}{{if .Size}}x{{end}}{{end}}", "x"),
            (r#"{{if eq .ID "abc" "x"}}1{{end}}{{if ne .Size 7}}2{{end}}"#, "1"),
            (r#"{{if and .ID (eq .Size 7)}}1{{end}}{{or .Config.Cmd .ID}}"#, "1abc"),
            ("{{$x := .ID}}{{$x}}{{$x | title | truncate 2}}", "!truncate"),
            ("{{truncate .ID 2}} {{title .ID}} {{lower (upper .ID)}}", "ab Abc abc"),
            (r#"{{index (split "a:b" ":") 1}}"#, "b"),
            ("a  {{- .ID -}}  b{{/* no */}}", "aabcb"),
            ("{{println .ID}}x", "abc\nx"),
            ("{{.ID}}\\t{{.ID}}\\n", "abc\tabc\n"),
            (r#"{{join .Tags "\n"}}{{"\n"}}"#, "a:1\nb:2\n"),
            (r#"{{println .Config.Labels.bad}}{{.Config.Labels.bad}}"#, "x\\u{1b}[2J\nx\\u{1b}[2J"),
            (r#"{{"a\"}}b"}}{{`c`}}{{3}}{{true}}"#, "a\"}}bc3true"),
            ("{{.Config.Labels.none}} {{.Config.Cmd}}", "<no value> []"),
            ("{{.Foo}}", "!unknown field .Foo: expected one of .Config, .Size, .ID, .Tags"),
            ("{{.Config.Foo}}", "!expected one of .Config.Env, .Config.Cmd, .Config.Labels"),
            ("{{.ID.Foo}}", "!no field"),
            ("{{range .Tags}}{{.Foo}}{{end}}", "!no field"),
            ("{{.ID", "!}} is missing"),
            ("{{}}", "!empty"),
            ("{{end}}", "!unexpected {{end}}"),
            ("{{if .ID}}", "!{{end}} is missing"),
            ("{{range .ID}}{{end}}", "!no elements"),
            ("{{.ID .ID}}", "!one value"),
            ("{{.ID | .ID}}", "!takes no arguments"),
            ("{{(.ID}}", "!) is missing"),
            ("{{.ID)}}", "!unexpected )"),
            ("{{\"x}}", "!no end"),
            ("{{\"\\x\"}}", "!escape"),
            ("{{$nope}}", "!unknown variable"),
            ("{{len}}", "!does not take 0 arguments"),
            ("{{eq .Tags 1}}", "!compared"),
            ("{{.A..B}}", "!malformed field"),
        ] {
            match (evaluate(template), expected.strip_prefix('!')) {
                (Ok(text), None) => assert_eq!(text, expected, "{template}"),
                (Err(text), Some(part)) => assert!(text.contains(part), "{template}: {text}"),
                (outcome, _) => panic!("{template}: {outcome:?}"),
            }
        }
    }
}
