#!/bin/sh
# The reading of Apache, as a CGI program gets it.
printf 'Content-Type: text/plain\n\n%s' "$PATH_INFO"
