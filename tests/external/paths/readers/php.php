<?php
// Readings by PHP: its own server, and what front controllers do with the target.
function escape($text) {
    return preg_replace_callback("~[^A-Za-z0-9/._\~!$&'()*+,;=:@-]~",
        fn($m) => sprintf("%%%02X", ord($m[0])), $text);
}
$parsed = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$cut = explode('?', $_SERVER['REQUEST_URI'], 2)[0];
echo "php-server\t", escape($_SERVER['PATH_INFO'] ?? $_SERVER['SCRIPT_NAME']), "\n";
echo "php-parse-url\t", is_string($parsed) ? escape(rawurldecode($parsed)) : '!', "\n";
echo "php-urldecode\t", escape(urldecode($cut)), "\n";
