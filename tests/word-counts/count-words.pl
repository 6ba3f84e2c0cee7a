#!/usr/bin/perl
#
# Counts the words of a text (UTF-8): count-words.pl FILE, or from standard input. Prints a JSON object, word to count.
#
# It is written apart from the program that it checks and shares nothing with it but the rule:
#
#   A word is a piece of the text between two neighbouring word boundaries (Unicode Standard Annex #29, default rules)
#   that has at least one character which is Alphabetic (the derived property) or a number (General_Category N). It is
#   counted in Normalization Form C and in lower case, by the full, language-independent mapping of the Unicode Standard
#   with the final sigma (section 3.13, R2 and Final_Sigma), and in Form C again, because lower-casing can make a
#   composition possible. So "don't", "naïve" and "3.14" are one word each; quotes, dashes and emoji are none.
#
# Known differences, none of them in ordinary text. Perl 5.36 knows Unicode 14, so younger characters may be told apart.
# Its \b{wb} keeps runs of white space together, which shows where an alphabetic combining mark stands on a space, and
# deviates at zero width joiners outside emoji and at letters that are emoji too (U+2139). Non-characters are an error.

use v5.26;
use warnings;
use warnings FATAL => 'utf8';
use autodie;
use JSON::PP ();
use Unicode::Normalize qw(NFC);

# lc() leaves out the only rule of the standard that depends on the letters around: a capital sigma is final after a
# cased letter, unless a cased letter follows; marks, apostrophes and the like (Case_Ignorable) in between do not count.
sub lower_case {
    my ($word) = @_;
    $word =~ s/(?!\p{Case_Ignorable})\p{Cased}\p{Case_Ignorable}*\K\N{U+3A3}(?!\p{Case_Ignorable}*+\p{Cased})/\N{U+3C2}/g;
    return lc $word;
}

die "usage: count-words.pl [FILE]\n" if @ARGV > 1;
my $in = \*STDIN;
open $in, '<', $ARGV[0] if @ARGV;
binmode $in, ':encoding(UTF-8)';

my %count;
for my $segment (split /\b{wb}/, do { local $/; <$in> } // '') {
    $count{NFC(lower_case(NFC($segment)))}++ if $segment =~ /[\p{Alphabetic}\p{N}]/;
}
say JSON::PP->new->utf8->canonical->encode(\%count);
