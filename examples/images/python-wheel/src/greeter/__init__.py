import sys

from jinja2 import Template


def main():
    print(Template("Hello, {{ name | e }}!").render(name=sys.argv[1]))
