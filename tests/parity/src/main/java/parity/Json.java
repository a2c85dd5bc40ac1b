package parity;

import java.util.Collection;
import java.util.Map;

/** Writes maps, lists, text and whole numbers as JSON: two levels a line each, so that a change of a golden reads well in a diff. */
final class Json {
    private Json() {}

    static String write(final Object value) {
        final StringBuilder out = new StringBuilder();
        write(out, value, 0);
        return out.append('\n').toString();
    }

    private static void write(final StringBuilder out, final Object value, final int depth) {
        if (value instanceof Map<?, ?> map) {
            open(out, '{');
            String separator = "";
            for (final Map.Entry<?, ?> entry : map.entrySet()) {
                out.append(separator);
                line(out, depth + 1);
                text(out, entry.getKey().toString());
                out.append(": ");
                write(out, entry.getValue(), depth + 1);
                separator = ",";
            }
            close(out, '}', depth, map.isEmpty());
        } else if (value instanceof Collection<?> list) {
            open(out, '[');
            String separator = "";
            for (final Object item : list) {
                out.append(separator);
                line(out, depth + 1);
                write(out, item, depth + 1);
                separator = ",";
            }
            close(out, ']', depth, list.isEmpty());
        } else if (value instanceof String text) {
            text(out, text);
        } else {
            out.append(value);
        }
    }

    private static void open(final StringBuilder out, final char bracket) {
        out.append(bracket);
    }

    private static void close(final StringBuilder out, final char bracket, final int depth, final boolean empty) {
        if (!empty) {
            line(out, depth);
        }
        out.append(bracket);
    }

    private static void line(final StringBuilder out, final int depth) {
        if (depth > 4) {
            out.append(' ');
        } else {
            out.append('\n').append(" ".repeat(depth));
        }
    }

    private static void text(final StringBuilder out, final String text) {
        out.append('"');
        for (final char c : text.toCharArray()) {
            switch (c) {
                case '"' -> out.append("\\\"");
                case '\\' -> out.append("\\\\");
                case '\n' -> out.append("\\n");
                default -> {
                    if (c < ' ') {
                        out.append(String.format("\\u%04x", (int) c));
                    } else {
                        out.append(c);
                    }
                }
            }
        }
        out.append('"');
    }
}
