# Completion of the commands of millrace for bash; installed as /usr/share/bash-completion/completions/millrace.
# The names of options for --set come from millrace-conf, the one place that knows them.

_millrace_keys() {
    local program=$1 folder found
    folder=$(dirname -- "$(readlink -f -- "$(type -P -- "$program")")") || return
    for found in "${MILLRACE_BIN:-$folder/../build/bin}/millrace-conf" "$folder/../libexec/millrace/millrace-conf"; do
        if [[ -x $found ]]; then
            "$found" --effective 2>/dev/null | sed -n 's/ = .*/=/p'
            return
        fi
    done
}

_millrace() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} words
    local -r commands="start stop restart status scale check verify-replicas import export backup restore"
    COMPREPLY=()
    case $previous in
        --dir)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
            return ;;
        --config)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return ;;
        --set)
            compopt -o nospace
            mapfile -t COMPREPLY < <(compgen -W "$(_millrace_keys "${COMP_WORDS[0]}")" -- "$word")
            return ;;
        --port | --io | --to-number | --to-time | --timeout)
            return ;;
    esac
    if [[ $COMP_CWORD -eq 1 ]]; then
        words="$commands --help --version"
    else
        case $command in
            start) words="--dir --config --port --io --set --repair --daemon --help" ;;
            check) words="--dir --config --port --io --set --help" ;;
            status) words="--dir --json --help" ;;
            stop) words="--dir --force --help" ;;
            verify-replicas) words="--dir --timeout --help" ;;
            restart | scale) words="--dir --help" ;;
            import) words="--dir --replace --help" ;;
            export | backup) words="--dir --help" ;;
            restore) words="--dir --to-number --to-time --replace --help" ;;
        esac
        if [[ $command =~ ^(import|export|backup|restore)$ && $word != -* ]]; then
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return
        fi
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _millrace millrace
